"""Netplan: our one file's text, and what the owner's files say about an interface.

Facts of netplan (its reference, "Merging" and the YAML keys): files merge by name over /usr/lib, /etc and
/run; mappings merge, lists add up; an interface is named by its own key or found by `match`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, ip_interface
from typing import Any

import yaml

#: The name NVIDIA's playbook uses begins with 40 too: before NetworkManager's own 90-NM-….yaml.
FILE_NAME = "40-trtspark-fabric.yaml"
FILE = f"/etc/netplan/{FILE_NAME}"
#: On a node: whose the file is, and what it gave to which interface.
RECORD = "/var/lib/trtspark/fabric.json"
#: Bytes. The links carry it on both sides of a cable; a switch must be set to as much or more.
MTU = 9000

_HEAD = """\
# Written by trtllm-dgx-spark (`fabric: configure`), and removed again by `pulumi destroy`.
# Edits are seen by `pulumi refresh` and taken back by the next `pulumi up`: to keep addresses of your own,
# put them into nodes[].fabric, or set `fabric: detect` and write another file.
network:
  version: 2
  ethernets:
"""
_INTERFACE = """\
    {netdev}:
      optional: true
      dhcp4: false
      dhcp6: false
      link-local: []
      mtu: {mtu}
      addresses:
        - {address}
"""
#: Kinds that take whole interfaces, and the key under which they name them.
_TAKERS = {"bonds": "interfaces", "bridges": "interfaces", "vrfs": "interfaces", "vlans": "link"}


def render(addresses: Mapping[str, IPv4Interface]) -> str:
    """Our file for these interfaces; "" for none, which means no file."""
    if not addresses:
        return ""
    return _HEAD + "".join(
        _INTERFACE.format(netdev=netdev, mtu=MTU, address=addresses[netdev]) for netdev in sorted(addresses)
    )


def network(text: str) -> Mapping[str, Any]:
    """The `network` mapping of a netplan file, or of `netplan get`; {} for what is none."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    inner = found.get("network") if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def static(found: Mapping[str, Any], netdev: str, mac: str) -> tuple[str, ...]:
    """Addresses written down for an interface, link-local ones left out, in netplan's own notation."""
    return tuple(
        address
        for definition in _definitions(found, netdev, mac)
        for address in _addresses(definition)
        if not _link_local(address)
    )


def taken_by(found: Mapping[str, Any], netdev: str) -> str:
    """The bond, bridge, VRF or VLAN that an interface is part of, like "bond bond0"; "" for none."""
    for kind, key in _TAKERS.items():
        for name, definition in (found.get(kind) or {}).items():
            members = (definition or {}).get(key) or []
            if netdev in ([members] if isinstance(members, str) else members):
                return f"{kind[:-1]} {name}"
    return ""


def takes_away(found: Mapping[str, Any], netdev: str, mac: str, address: IPv4Address) -> bool:
    """Whether `netplan apply` would leave an interface without the address it has now.

    So it is where only other addresses are written down and DHCP is off: somebody edited a file and has
    not applied it.
    """
    definitions = list(_definitions(found, netdev, mac))
    written = [ip_interface(one).ip for each in definitions for one in _addresses(each)]
    dhcp = any(each.get("dhcp4") for each in definitions)
    return bool(written) and address not in written and not dhcp


def _definitions(found: Mapping[str, Any], netdev: str, mac: str) -> Iterator[Mapping[str, Any]]:
    for name, definition in (found.get("ethernets") or {}).items():
        if isinstance(definition, dict) and _means(name, definition.get("match"), netdev, mac):
            yield definition


def _means(name: str, match: Any, netdev: str, mac: str) -> bool:
    if not isinstance(match, dict):
        return name == netdev
    by_name, by_mac = match.get("name"), match.get("macaddress")
    return (by_name is None or fnmatch.fnmatchcase(netdev, str(by_name))) and (
        by_mac is None or str(by_mac).lower() == mac.lower()
    )


def _addresses(definition: Mapping[str, Any]) -> list[str]:
    """An entry is an address, or a mapping of one to its options."""
    entries = definition.get("addresses") or []
    return [str(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries]


def _link_local(address: str) -> bool:
    return ip_interface(address).is_link_local
