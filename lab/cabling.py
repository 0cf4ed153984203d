"""Which of a node's interfaces has a cable, where it leads, and which address its owner gave it.

A cable is one wire to both halves of the ConnectX-7: the two interfaces of a cage share it, so a
cable is one bridge here. Subnets and hosts are those of NVIDIA's own set-up (reference: its
playbook for two Sparks, and its tool for a ring of three).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lab import names
from lab.variants import Variant

LAN = "lan"
SHAPES = ("direct", "ring", "switch")
RING_NODES = 3
LINKS = ("mgmt", "half0", "half1", "half2", "half3")
"""What `link` calls a node's wires: half2 and half3 are those of cage 1, in a ring."""

_RING = (((1, 0), (2, 1)), ((1, 1), (3, 0)), ((2, 0), (3, 1)))
"""Its cables, each from one (node, cage) to another."""


@dataclass(frozen=True)
class Wire:
    """An interface of a node: `port` is its other end, at the switch; `link` and `bridge` are
    None without a cable. `address` is what it is expected to have.
    """

    netdev: str
    port: str
    link: str | None = None
    bridge: str | None = None
    address: IPv4Interface | None = None


def default_shape(nodes: int) -> str:
    """Return how so many Sparks are cabled unless told otherwise."""
    return "direct" if nodes <= 2 else "switch"


def bridges(shape: str) -> list[str]:
    """Return the switch's bridges."""
    cables = len(_RING) if shape == "ring" else 1
    return [LAN, *(f"cable{number}" for number in range(cables))]


def wires(lab: str, lan: IPv4Network, number: int, shape: str, variant: Variant) -> tuple[Wire, ...]:
    """Return all interfaces of node `number`; `lab` is the lab's id."""
    node = names.node_name(number)
    host = IPv4Interface((int(names.node_address(lan, number)), lan.prefixlen))
    management = Wire(names.MANAGEMENT, f"{node}.mgmt", "mgmt", LAN, host)
    return (management, *(_fabric(lab, node, number, shape, variant) if variant.cable else ()))


def _fabric(lab: str, node: str, number: int, shape: str, variant: Variant) -> Iterator[Wire]:
    for port in names.CX7_PORTS:
        end = f"{node}.{port.half}f{port.cage}"
        if shape == "ring":
            cable, place = _ring_place(number, port.cage)
            subnet, host = 2 * cable, place + 1
            link = f"half{2 * port.cage + port.half}"
        elif port.cage == variant.cage:
            cable, subnet, host = 0, 100, 10 + number
            link = f"half{port.half}"
        else:
            yield Wire(port.netdev, end)
            continue
        address = None
        if port.half < variant.halves:
            address = _address(subnet, host, port.half, variant, names.mac(lab, node, port.netdev), shape)
        yield Wire(port.netdev, end, link, f"cable{cable}", address)


def _ring_place(number: int, cage: int) -> tuple[int, int]:
    """Return the number of the cable in a cage, and which of its ends that is."""
    for cable, ends in enumerate(_RING):
        if (number, cage) in ends:
            return cable, ends.index((number, cage))
    raise ValueError(f"a ring has no node {number}")


def _address(
    subnet: int, host: int, half: int, variant: Variant, mac: str, shape: str
) -> IPv4Interface | None:
    match variant.addresses:
        case "none":
            return None
        case "link-local":
            return IPv4Interface(f"{link_local(mac)}/16")
        case "one-subnet":
            far = 2 if shape == "ring" else 100
            return IPv4Interface(f"192.168.{subnet}.{host + far * half}/24")
    return IPv4Interface(f"192.168.{subnet + half}.{host}/24")


def link_local(mac: str) -> IPv4Address:
    """Return the address that an interface picks for itself; machinery/network_settings.py picks the same."""
    high, low = (int(octet, 16) for octet in mac.split(":")[-2:])
    return IPv4Address(f"169.254.{1 + high % 254}.{low}")
