"""Interfaces, addresses and routes: `ip -j addr`, /proc/net/route, ssh's own view of the connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

UNKNOWN = IPv4Address(0)


def interfaces(text: str) -> dict[str, tuple[IPv4Interface, ...]]:
    """IPv4 addresses of every interface, in the kernel's order."""
    return {
        link["ifname"]: tuple(
            IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
            for entry in link.get("addr_info", [])
            if entry.get("family") == "inet"
        )
        for link in _links(text)
    }


def reached(connection: str, text: str) -> tuple[IPv4Address, str]:
    """The node's address that ssh reached, from SSH_CONNECTION; and the IPv6 address, where it was one.

    A name may well lead to IPv6 (`spark-1.local` does). The IPv4 address is then the first one of the same
    interface. Without ssh it is the machine itself.
    """
    words = connection.split()
    if len(words) != 4:
        return IPv4Address("127.0.0.1"), ""
    try:
        return IPv4Address(words[2]), ""
    except ValueError:
        pass
    ipv6 = words[2]
    if ipv6.lower().startswith("::ffff:"):  # sshd on a socket of both families
        return IPv4Address(ipv6[7:]), ""
    bare, _, scope = ipv6.partition("%")
    for link in _links(text):
        own = [entry["local"] for entry in link.get("addr_info", []) if entry.get("family") == "inet"]
        if own and (link["ifname"] == scope or bare in [e.get("local") for e in link["addr_info"]]):
            return IPv4Address(own[0]), ipv6
    return UNKNOWN, ipv6


def ssh_port(connection: str) -> int:
    """The node's port that ssh reached, from SSH_CONNECTION; 0 without ssh."""
    words = connection.split()
    return int(words[3]) if len(words) == 4 and words[3].isdecimal() else 0


def routes(table: str, own: Mapping[str, tuple[IPv4Interface, ...]]) -> tuple[IPv4Network, ...]:
    """Every destination but the default one, from /proc/net/route (hexadecimal, low byte first)."""
    found = {address.network for addresses in own.values() for address in addresses}
    for row in table.splitlines()[1:]:
        fields = row.split()
        if len(fields) > 7 and int(fields[7], 16):
            to, mask = (IPv4Address(bytes.fromhex(fields[index])[::-1]) for index in (1, 7))
            found.add(IPv4Network(f"{to}/{mask}", strict=False))
    return tuple(sorted(found))


def _links(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text or "[]")
    except json.JSONDecodeError:
        return []
    links = found if isinstance(found, list) else []
    return [link for link in links if isinstance(link, dict) and "ifname" in link]
