"""RDMA devices, from sysfs: names differ between images (rocep1s0f0, mlx5_0), what they are does not.

On a Spark one cable is two devices, one per PCI domain: 0000:01:00.N and 0002:01:00.N for QSFP port N
(NVIDIA's listing of the ConnectX-7's four interfaces).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

from cluster.facts import Hca, Pcie

_HALF_OF_DOMAIN = {0x0000: 0, 0x0002: 1}
_PCI = re.compile(r"([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])$")
#: The kernel's word for an unknown width is 255.
_MOST_LANES = 32
#: systemd.net-naming-scheme(7): P, domain; p, bus; s, slot; f, function; all decimal.
_PREDICTABLE = re.compile(r"^en(?:P(\d+))?p(\d+)s(\d+)f(\d+)")


def hca(
    raw: Mapping[str, Any],
    net: Mapping[str, Mapping[str, str]],
    interfaces: Mapping[str, tuple[IPv4Interface, ...]],
) -> Hca:
    """One device with the interface it belongs to, that one's addresses, and the GID to use."""
    netdev = _netdev(raw, net)
    link = net.get(netdev, {})
    address, has_gid = _address(raw["gids"], interfaces.get(netdev, ()))
    pci = _pci(raw.get("device", ""), link.get("device", ""), netdev)
    place = _PCI.search(pci)
    return Hca(
        name=str(raw["name"]),
        active="ACTIVE" in raw["state"],
        rate_gbps=_number(raw["rate"]),
        netdev=netdev,
        mtu=_number(link.get("mtu", "")),
        address=address,
        has_gid=has_gid,
        pci=pci,
        half=_HALF_OF_DOMAIN.get(int(place[1], 16)) if place else None,
        cage=int(place[4], 16) if place else None,
        mac=link.get("address", ""),
        others=tuple(one for one in interfaces.get(netdev, ()) if one != address),
        pcie=pcie(raw.get("pcie") or {}),
    )


def pcie(raw: Mapping[str, str]) -> Pcie | None:
    """The link of a PCI function by sysfs; None without one ("Unknown", "255" lanes, or no such files).

    Newer kernels write "32.0 GT/s PCIe", those before 5.7 "32 GT/s".
    """
    width, widest = (_lanes(raw.get(f"{which}_link_width", "")) for which in ("current", "max"))
    speed, fastest = (_transfers(raw.get(f"{which}_link_speed", "")) for which in ("current", "max"))
    return Pcie(width, speed, widest, fastest) if width and speed else None


def _lanes(text: str) -> int:
    number = _number(text)
    return number if number <= _MOST_LANES else 0


def _transfers(text: str) -> float:
    found = re.match(r"(\d{1,3}(?:\.\d)?) GT/s", text)
    return float(found[1]) if found else 0.0


def ibdev2netdev(command: Mapping[str, Any]) -> dict[str, str] | None:
    """Device -> "netdev (Up)" of `rocep1s0f0 port 1 ==> enp1s0f0np0 (Up)`; None where it did not run."""
    if command["rc"]:
        return None
    rows = re.findall(r"(?m)^(\S+) port 1 ==> (\S+ \(\w+\))", command["out"])
    return dict(rows)


def _netdev(raw: Mapping[str, Any], net: Mapping[str, Mapping[str, str]]) -> str:
    """The interface of port 1: as its GIDs say, else the one with dev_port 0, else the first."""
    listed: Sequence[str] = raw["netdevs"]
    by_gid = [gid["netdev"] for gid in raw["gids"] if gid["netdev"] in listed]
    by_port = [name for name in listed if net.get(name, {}).get("dev_port") == "0"]
    return next(iter([*by_gid, *by_port, *listed]), "")


def _address(
    gids: Sequence[Mapping[str, Any]], addresses: Sequence[IPv4Interface]
) -> tuple[IPv4Interface | None, bool]:
    """The address to use, and whether a RoCE v2 GID carries it (::ffff:a.b.c.d), at whatever index.

    One that somebody gave counts more than a link-local one that came by itself, and one with its GID more
    than one without.
    """
    found = []
    for address in addresses:
        octets = address.ip.packed.hex()
        wanted = f"0000:0000:0000:0000:0000:ffff:{octets[:4]}:{octets[4:]}"
        there = any((gid["type"], gid["gid"].lower()) == ("RoCE v2", wanted) for gid in gids)
        found.append((not there, address.ip.is_link_local, address))
    if not found:
        return None, False
    lacking, _, best = min(found, key=lambda one: one[:2])
    return best, not lacking


def _pci(device: str, netdev_device: str, netdev: str) -> str:
    """The PCI address by the device's link in sysfs, else by the interface's name, which is made from it."""
    for link in (device, netdev_device):
        if found := _PCI.search(link):
            return found[0]
    named = _PREDICTABLE.match(netdev)
    if not named:
        return ""
    domain, bus, slot, function = (int(number or 0) for number in named.groups())
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
