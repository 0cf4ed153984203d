"""The traffic counters of an InfiniBand port, which count what RDMA moves past the kernel.

On a Spark the adapter counts by itself. Here nothing but this program moves the data, so it adds to
the counters of simulated devices; real ones are read-only and are left alone.
"""

import contextlib
from pathlib import Path

BYTES_PER_UNIT = 4
"""port_xmit_data and port_rcv_data count in units of four bytes."""
BYTES_PER_PACKET = 4096
"""A RoCE packet of an interface with MTU 9000."""


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
