"""The counters of an InfiniBand port: what RDMA moves past the kernel, and what of it was lost on the way.

On a Spark the adapter counts by itself. Here nothing but this program moves the data, so it adds to
the counters of simulated devices; real ones are read-only and are left alone. The data goes over TCP: what
the kernel sent again or took out of order stands for what the adapter would have.
"""

import contextlib
import socket
import struct
from pathlib import Path

BYTES_PER_UNIT = 4
"""port_xmit_data and port_rcv_data count in units of four bytes."""
BYTES_PER_PACKET = 4096
"""A RoCE packet of an interface with MTU 9000."""

TCP_INFO_BYTES = 228
UNACKED, SENT_AGAIN, NEEDLESS, OUT_OF_ORDER = 24, 100, 216, 224
"""Where Linux's struct tcp_info has tcpi_unacked, tcpi_total_retrans, tcpi_dsack_dups and tcpi_rcv_ooopack;
all are 32 bits."""


def lost(connection: socket.socket) -> tuple[int, int] | None:
    """Return how many packets of a TCP connection were sent again and came out of order, so far.

    TCP also sends again what was only late, on a busy machine, and is told so by the receiver: that does not
    count. None while something is under way, as nobody knows yet.
    """
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    if len(info) < TCP_INFO_BYTES:
        return 0, 0
    unacked, again, needless, disordered = (
        struct.unpack_from("=I", info, place)[0] for place in (UNACKED, SENT_AGAIN, NEEDLESS, OUT_OF_ORDER)
    )
    return None if unacked else (max(0, again - needless), disordered)


def lose(folder: Path, again: int = 0, disordered: int = 0) -> None:
    """Add to the counters of lost packets, in `hw_counters` beside the port's `counters` folder."""
    for name, amount in (("packet_seq_err", again), ("out_of_sequence", disordered)):
        if amount > 0:
            _add(folder.parent / "hw_counters" / name, amount)


def add(folder: Path, sent: int = 0, received: int = 0) -> None:
    """Add bytes to the counters in a port's `counters` folder, if they can be written."""
    for name, size in (("xmit", sent), ("rcv", received)):
        if size:
            _add(folder / f"port_{name}_data", size // BYTES_PER_UNIT)
            _add(folder / f"port_{name}_packets", -(-size // BYTES_PER_PACKET))


def _add(path: Path, amount: int) -> None:
    with contextlib.suppress(OSError, ValueError), path.open("r+") as file:
        total = int(file.read()) + amount
        file.seek(0)
        file.write(f"{total}\n")
