#!/usr/bin/python3 -IS
"""Simulates ib_write_bw of the package perftest: one RDMA write test between two simulated Sparks.

The options, the order of events and the output are those of perftest 6.06 (its source and binary), as far
as a rail's test needs them. Without a server's name it waits for a client on a TCP port; the client
connects, both exchange their GIDs, and the client's bytes go to the server.

There is no RDMA here: the bytes go over TCP, from the address behind the device's GID to the address
behind the server's. SCALE makes up for it: one Mbit/s that is moved stands for one Gb/s that is reported,
and the sender goes no faster than a real function would (its PCIe link, the cable shared by both
functions). So a rail that is throttled with `tc` to 30 Mbit/s shows as 30 Gb/s.

It refuses what the real one refuses: no device, an unknown one, a port that is down, a GID index that
holds nothing, no server at the address, a server with other options.
"""

import argparse
import contextlib
import ipaddress
import os
import random
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

CLASS = Path("/sys/class/infiniband")
SENDING = f"lab-rdma-sending{CLASS}/"
"""What the tests that send now are called: they share the cable."""
SCALE = 1000
"""What is reported for each bit that is moved."""
PCIE_SHARE = 111.7 / 126.0
"""Of a PCIe link's raw rate, what RDMA writes reach: 111.71 Gb/s measured over Gen5 x4 on a real Spark."""
CABLE_SHARE = 190.0 / 200.0
"""Of the cable's rate, what both functions reach together: 189.9 Gb/s measured."""
CHUNK = 16 * 1024
LINE = "-" * 87
STARS = "*" * 36
HELLO = struct.Struct("!16sIHId")
"""GID, seconds, data port, queue pairs, Gb/s of its PCIe link: what both sides tell each other first."""


def fail(*lines: str) -> NoReturn:
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(1)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ib_write_bw", add_help=False)
    parser.add_argument("-d", "--ib-dev")
    parser.add_argument("-i", "--ib-port", type=int, default=1)
    parser.add_argument("-p", "--port", type=int, default=18515)
    parser.add_argument("-x", "--gid-index", type=int, default=-1)
    parser.add_argument("-D", "--duration", type=int, default=0)
    parser.add_argument("-q", "--qp", type=int, default=1)
    parser.add_argument("-s", "--size", type=int, default=65536)
    parser.add_argument("-F", "--CPU-freq", action="store_true")
    parser.add_argument("--report_gbits", action="store_true")
    parser.add_argument("-V", "--version", action="store_true")
    parser.add_argument("server", nargs="?")
    parser.error = lambda message: fail(  # type: ignore[method-assign]  # as getopt says it
        f"ib_write_bw: {message}", " Invalid Command or flag.", " Please check command line and run again."
    )
    return parser.parse_args()


def device(name: str | None) -> Path:
    found = sorted(CLASS.iterdir()) if CLASS.is_dir() else []
    if not found:
        fail(
            " Did not detect devices ",
            " If device exists, check if driver is up",
            " Unable to find the Infiniband/RoCE device",
        )
    if name is None:
        return found[0]
    if CLASS / name not in found:
        fail(f"IB device {name} not found", " Unable to find the Infiniband/RoCE device")
    return CLASS / name


def gid(hca: Path, index: int) -> ipaddress.IPv6Address:
    """The GID at `index`; with -1 the first RoCE v2 one over IPv4, as perftest chooses."""
    port = hca / "ports/1"
    if "ACTIVE" not in (port / "state").read_text():
        fail(" Port number 1 state is Down", f" Couldn't set the link layer for device {hca.name}")
    table = {int(path.name): path.read_text().strip() for path in (port / "gids").iterdir()}
    if index < 0:
        kinds = port / "gid_attrs/types"
        mapped = (n for n, text in sorted(table.items()) if ipaddress.IPv6Address(text).ipv4_mapped)
        index = next((n for n in mapped if (kinds / str(n)).read_text().strip() == "RoCE v2"), 0)
    return ipaddress.IPv6Address(table.get(index, "::"))


def address(found: ipaddress.IPv6Address) -> str:
    """Where the bytes go; a queue pair on an empty GID, or one without IPv4, does not come up."""
    if found.ipv4_mapped is None:
        fail("Failed to modify QP to RTR", " Unable to Connect the HCA's through the link")
    return str(found.ipv4_mapped)


def pcie(hca: Path) -> float:
    """Gb/s that the function's PCIe link lets through."""
    speed = float((hca / "device/current_link_speed").read_text().split()[0])
    return int((hca / "device/current_link_width").read_text()) * speed * 128 / 130 * PCIE_SHARE


def rate(hca: Path, receiver: float) -> float:
    """Bits a second on the wire of this machine that this function may send now; `receiver`: Gb/s of the
    other end's PCIe link.
    """
    cable = int((hca / "ports/1/rate").read_text().split()[0]) * CABLE_SHARE
    return min(pcie(hca), receiver, cable / max(1, senders())) * 1e9 / SCALE


@contextlib.contextmanager
def sending() -> Any:
    """Be counted while it lasts: by a name in this machine's table of unix sockets, which leaves no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sign:
        sign.bind(f"\0{SENDING}{os.getpid()}")
        yield


def senders() -> int:
    """How many send now, of any device of this machine."""
    return Path("/proc/net/unix").read_text().count(f"@{SENDING}")


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = connection.recv(size - len(data))
        except OSError:
            part = b""
        if not part:
            fail("ethernet_read_keys: Couldn't read remote address", " Unable to read from socket/rdma_cm")
        data += part
    return data


def header(args: argparse.Namespace, hca: Path) -> str:
    rows = (
        (f" Dual-port       : OFF\t\tDevice         : {hca.name}",),
        (f" Number of qps   : {args.qp}\t\tTransport type : IB",),
        (" Connection type : RC\t\tUsing SRQ      : OFF",),
        (" PCIe relax order: ON",),
        (" ibv_wr* API     : ON",),
        (" TX depth        : 128",) if args.server else (),
        (" CQ Moderation   : 1",),
        (" Mtu             : 4096[B]",),
        (" Link type       : Ethernet",),
        (f" GID index       : {max(args.gid_index, 3 if args.gid_index < 0 else 0)}",),
        (" Max inline data : 0[B]",),
        (" rdma_cm QPs\t : OFF",),
        (" Data ex. method : Ethernet",),
    )
    body = "\n".join(line for row in rows for line in row)
    return f"{LINE}\n                    RDMA_Write BW Test\n{body}\n{LINE}"


def shown(side: str, raw: bytes) -> str:
    numbers = ":".join(f"{octet:02d}" for octet in raw)
    queue, first = random.randrange(1 << 12), random.randrange(1 << 24)
    place = f"LID 0000 QPN {queue:#06x} PSN {first:#08x} RKey 0x1fff00 VAddr 0x007f0000000000"
    return f" {side} address: {place}\n GID: {numbers}"


def report(args: argparse.Namespace, moved: int, seconds: float) -> str:
    iterations = moved * SCALE // args.size
    gbits = moved * 8 * SCALE / seconds / 1e9
    average, unit = (gbits, "Gb/sec") if args.report_gbits else (gbits * 1e9 / 8 / (1 << 20), "MB/sec")
    rate = iterations / seconds / 1e6
    head = f" #bytes     #iterations    BW peak[{unit}]    BW average[{unit}]   MsgRate[Mpps]"
    row = f" {args.size:<7}    {iterations:<10}       0.00               {average:.2f} \t\t   {rate:.6f}"
    return f"{head}\n{row}\n{LINE}"


def serve(args: argparse.Namespace, hca: Path, own: ipaddress.IPv6Address) -> None:
    try:
        control = socket.create_server(("", args.port))
    except OSError:
        fail(f"Couldn't listen to port {args.port}", " Unable to open file descriptor for socket connection")
    print(f"\n{STARS}\n* Waiting for client to connect... *\n{STARS}", flush=True)
    place = "127.0.0.1" if own.ipv4_mapped is None else address(own)
    with control, control.accept()[0] as peer, socket.create_server((place, 0)) as data:
        theirs = HELLO.unpack(exactly(peer, HELLO.size))
        peer.sendall(HELLO.pack(own.packed, args.duration, data.getsockname()[1], args.qp, pcie(hca)))
        if (theirs[1], theirs[3]) != (args.duration, args.qp):
            fail(" Unable to Connect the HCA's through the link")
        print(header(args, hca), shown("local", own.packed), shown("remote", theirs[0]), LINE, sep="\n")
        address(own)
        data.settimeout(10)
        with data.accept()[0] as stream:
            moved, begun = 0, time.monotonic()
            while part := stream.recv(1 << 16):
                moved += len(part)
            peer.sendall(struct.pack("!Q", moved))
        print(report(args, moved, max(time.monotonic() - begun, 0.001)), flush=True)


def ask(args: argparse.Namespace, hca: Path, own: ipaddress.IPv6Address) -> None:
    try:
        control = socket.create_connection((args.server, args.port), 10)
    except OSError:
        fail(
            f"Couldn't connect to {args.server}:{args.port}",
            "Unable to open file descriptor for socket connection Unable to init the socket connection",
        )
    with control:
        control.sendall(HELLO.pack(own.packed, args.duration, 0, args.qp, pcie(hca)))
        raw, seconds, port, queues, receiver = HELLO.unpack(exactly(control, HELLO.size))
        if (seconds, queues) != (args.duration, args.qp):
            fail(" Unable to Connect the HCA's through the link")
        print(header(args, hca), shown("local", own.packed), shown("remote", raw), LINE, sep="\n", flush=True)
        theirs = address(ipaddress.IPv6Address(raw))
        try:
            stream = socket.create_connection((theirs, port), 10, (address(own), 0))
        except OSError:
            fail(" Completion with error at client", " Failed status 12: wr_id 0 syndrom 0x81")
        with stream, sending():
            spent = send(stream, hca, receiver, args.duration)
        (received,) = struct.unpack("!Q", exactly(control, 8))
    print(report(args, received, spent), flush=True)


def send(stream: socket.socket, hca: Path, receiver: float, seconds: int) -> float:
    """Paced, and with little in the kernel's buffers; the seconds that it took."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * CHUNK)
    data, begun = bytes(CHUNK), time.monotonic()
    due, now, asked, allowed = begun, begun, begun, rate(hca, receiver)
    while now - begun < seconds:
        stream.sendall(data)
        now = time.monotonic()
        if now - asked > 0.1:
            asked, allowed = now, rate(hca, receiver)
        due = max(due + CHUNK * 8 / allowed, now - 0.2)
        if due > now:
            time.sleep(due - now)
            now = time.monotonic()
    stream.shutdown(socket.SHUT_WR)
    return now - begun


def main() -> None:
    args = options()
    if args.version:
        print("Version: 6.06")
        return
    if args.duration <= 0:
        fail(" This simulation runs for a time only: -D SECONDS")
    hca = device(args.ib_dev)
    own = gid(hca, args.gid_index)
    (ask if args.server else serve)(args, hca, own)


if __name__ == "__main__":
    main()
