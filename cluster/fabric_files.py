"""What is written down on a node about the fabric's interfaces: by us, and by others, whose word stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from typing import Any

from cluster import netplan
from cluster.errors import NotPrepared
from cluster.fabric_links import active
from cluster.facts import Facts


@dataclass(frozen=True)
class Seen:
    """What the second look found on a node."""

    stack: str = ""
    """Whose our file is: the stack that our record names; "" without a record."""
    addresses: Mapping[str, IPv4Interface] = field(default_factory=dict)
    """What the record says that we gave to which interface."""
    torn: bool = False
    """Whether our record is there and cannot be understood."""
    linked: Sequence[str] = ()
    """Those of our files that somebody put a symbolic link in the place of."""
    file: str = ""
    """The text of our file; "" when it is not there."""
    merged: str = ""
    """What `netplan get` printed."""
    problem: str = ""
    """Why it printed nothing, one line."""
    neighbours: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """MAC addresses that answered on an interface."""
    dynamic: frozenset[str] = frozenset()
    """Interfaces whose IPv4 address is DHCP's."""


def seen(document: Mapping[str, Any]) -> Seen:
    """From the look's answer (remote/node/fabric_config.py)."""
    record, merged = document["record"] or {}, document["netplan"]
    said = (merged["err"].strip() or merged["out"].strip() or f"exit code {merged['rc']}").splitlines()[-1]
    return Seen(
        stack=record.get("stack", ""),
        addresses={name: IPv4Interface(text) for name, text in record.get("addresses", {}).items()},
        torn=bool(document.get("torn")),
        linked=tuple(document.get("linked") or ()),
        file=document["file"] or "",
        merged="" if merged["rc"] else merged["out"],
        problem=said if merged["rc"] else "",
        neighbours=document["neighbours"],
        dynamic=frozenset(document["dynamic"]),
    )


def refuse_others(stack: str, facts: Facts, look: Seen, write: Mapping[str, IPv4Interface]) -> None:
    """Raises NotPrepared where writing would override what somebody else has written down."""
    for path in look.linked:
        raise NotPrepared(
            facts.node,
            f"{path} is a symbolic link, and no file behind a link is changed.",
            f"Put a file in its place, or `sudo rm {path}` there.",
        )
    if look.torn:
        raise NotPrepared(
            facts.node,
            f"{netplan.RECORD}, our record of its addresses, cannot be understood.",
            f"Look at {netplan.FILE}: where it is this program's, `sudo rm {netplan.FILE} {netplan.RECORD}` "
            "there, and `sudo netplan apply`.",
        )
    if look.stack not in ("", stack):
        raise NotPrepared(
            facts.node,
            f"{netplan.FILE} is stack {look.stack}'s.",
            "Use `fabric: detect` in one of the two.",
        )
    if look.file and not look.stack:
        raise NotPrepared(
            facts.node,
            f"{netplan.FILE} is there, and this program has no record of writing it.",
            f"Look at it (`sudo cat {netplan.FILE}`), and remove it or use `fabric: detect`.",
        )
    if look.problem:
        raise NotPrepared(
            facts.node,
            f"`sudo netplan get` does not tell what is configured: {look.problem}.",
            "Allow it without a password (docs/preparing.md has the lines), or use `fabric: detect`.",
        )
    found, mine = netplan.network(look.merged), netplan.network(look.file)
    macs = {hca.netdev: hca.mac for hca in facts.hcas}
    for netdev, address in sorted(write.items()):
        known = {str(address), str(look.addresses.get(netdev)), *netplan.static(mine, netdev, "")}
        theirs = [one for one in netplan.static(found, netdev, macs.get(netdev, "")) if one not in known]
        if why := (", ".join(theirs) or netplan.taken_by(found, netdev)):
            raise NotPrepared(
                facts.node,
                f"{netdev} is configured by a netplan file of yours ({why}; files: "
                f"{', '.join(facts.netplan) or 'unknown'}), and has no address that works with the others.",
                "Take it out of that file, or correct it there and use `fabric: detect`.",
            )
    management = facts.management or next(
        (name for name, found_ in facts.interfaces.items() if any(a.ip == facts.address for a in found_)), ""
    )
    if netplan.takes_away(found, management, "", facts.address):
        raise NotPrepared(
            facts.node,
            f"`netplan apply` would take the address {facts.address} from {management}: the files in "
            "/etc/netplan give it another.",
            "Apply or correct them first, at the machine itself.",
        )


def repair(facts: Facts, look: Seen, write: Mapping[str, IPv4Interface]) -> str:
    """What somebody changed since we wrote it; "" when all is as it should be."""
    if look.file != netplan.render(look.addresses):
        return f"{netplan.FILE} was {'edited' if look.file else 'removed'}"
    for half in active(facts):
        wanted = write.get(half.netdev)
        if wanted and wanted not in facts.interfaces.get(half.netdev, ()):
            return f"{half.netdev} has lost {wanted}"
        if wanted and half.mtu != netplan.MTU:
            return f"{half.netdev} has MTU {half.mtu}"
    return ""
