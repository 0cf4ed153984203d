"""Names and numbers of a lab, derived from the checkout and the lab's name.

Two labs of two checkouts, or two of one, never share a name; the same lab always gets the same, so
that a node keeps its addresses and its GPU's UUID over `down` and `up`.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

MAX_NODES = 8
"""Two Spark per cable, four or so on a switch: eight is more than NVIDIA supports (2026-07)."""

MANAGEMENT = "enP7s7"
"""The Spark's RJ45 port."""


@dataclass(frozen=True)
class Port:
    """A function of the ConnectX-7: `half` is its PCIe half, `cage` the QSFP cage it reads."""

    netdev: str
    hca: str
    half: int
    cage: int


CX7_PORTS = (
    Port("enp1s0f0np0", "rocep1s0f0", 0, 0),
    Port("enp1s0f1np1", "rocep1s0f1", 0, 1),
    Port("enP2p1s0f0np0", "roceP2p1s0f0", 1, 0),
    Port("enP2p1s0f1np1", "roceP2p1s0f1", 1, 1),
)
"""Every cage shows up twice, once on each half."""


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()


def lab_id(checkout: Path, name: str) -> str:
    """Return the id, e.g. `lab-3f9a1c`: short enough to be an interface's name (15 characters)."""
    return f"lab-{_digest(str(checkout.resolve()), name).hex()[:6]}"


def subnet(identity: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the lab's LAN, a /24 that overlaps none of `taken`.

    From 10.100.0.0 to 10.227.255.0: away from Docker's overlay networks, which begin at 10.0.0.0.
    """
    busy = list(taken)
    first = int.from_bytes(_digest(identity, "subnet")[:2]) >> 1
    for step in range(128 * 256):
        number = (first + step) % (128 * 256)
        candidate = IPv4Network((f"10.{100 + (number >> 8)}.{number & 0xFF}.0", 24))
        if not any(candidate.overlaps(other) for other in busy):
            return candidate
    raise ValueError("every network from 10.100.0.0 to 10.227.255.0 is taken")


def operator_address(lan: IPv4Network) -> IPv4Address:
    """Return this machine's address in the lab, where the registry listens."""
    return lan[1]


def router_address(lan: IPv4Network) -> IPv4Address:
    """Return the nodes' default gateway. It answers "unreachable": a lab has no way out."""
    return lan[254]


def node_name(number: int) -> str:
    """Return `spark-1` for 1."""
    return f"spark-{number}"


def node_address(lan: IPv4Network, number: int) -> IPv4Address:
    """Return a node's address in `lan`: .11 for node 1."""
    return lan[10 + number]


def mac(identity: str, node: str, interface: str) -> str:
    """Return a stable MAC address under NVIDIA's prefix 3c:6d:66, as a Spark's ports have."""
    tail = _digest(identity, node, interface, "mac")[:3]
    return ":".join(("3c:6d:66", *(f"{octet:02x}" for octet in tail)))


def gpu_uuid(identity: str, node: str) -> str:
    """Return the GPU's UUID, stable for a node."""
    return f"GPU-{uuid.UUID(bytes=_digest(identity, node, 'gpu')[:16], version=4)}"


def machine_id(identity: str, node: str) -> str:
    """Return 32 hexadecimal digits for /etc/machine-id."""
    return _digest(identity, node, "machine-id").hex()[:32]


def serial_number(identity: str, node: str) -> str:
    """Return the box's serial number, 13 digits as printed on a Founders Edition."""
    return f"{int.from_bytes(_digest(identity, node, 'serial')[:6]) % 10**13:013d}"
