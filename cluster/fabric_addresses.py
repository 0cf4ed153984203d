"""`fabric: configure`: which address every half of every cable gets, and what our netplan file says.

Pure: from the facts, and a second look (remote/node/fabric_config.py) at what is written down. What works
is kept, whoever made it. What we wrote before is known by our record on the node, so the answer is the
same with our file in place, edited, or removed. docs/decisions/0017 has the rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from itertools import combinations
from typing import Any

from cluster import netplan
from cluster.errors import NotPrepared, PlanError
from cluster.fabric_links import Half, active, described, ports, rails, segments
from cluster.fabric_subnets import PREFIX, free, host, numbers
from cluster.facts import Facts

#: The first IPv4 address of an interface gives its RDMA device GIDs 2 (RoCE v1) and 3 (RoCE v2); 0 and 1 are
#: IPv6's. The node program checks it after applying.
GID_INDEX = 3


@dataclass(frozen=True)
class Seen:
    """What the second look found on a node."""

    stack: str = ""
    """Whose our file is: the stack that our record names; "" without a record."""
    addresses: Mapping[str, IPv4Interface] = field(default_factory=dict)
    """What the record says that we gave to which interface."""
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


@dataclass(frozen=True)
class NodeAddresses:
    """One node's part: what our file says (nothing: we write none) and why it must be written again."""

    addresses: Mapping[str, IPv4Interface] = field(default_factory=dict)
    repair: str = ""

    @property
    def file(self) -> str:
        """The file's text; "" for no file."""
        return netplan.render(self.addresses)


@dataclass(frozen=True)
class Choice:
    """All nodes' parts, head first, and what is worth telling."""

    nodes: tuple[NodeAddresses, ...]
    notes: tuple[str, ...] = ()


def seen(document: Mapping[str, Any]) -> Seen:
    """From the look's answer (remote/node/fabric_config.py)."""
    record, merged = document["record"] or {}, document["netplan"]
    said = (merged["err"].strip() or merged["out"].strip() or f"exit code {merged['rc']}").splitlines()[-1]
    return Seen(
        stack=record.get("stack", ""),
        addresses={name: IPv4Interface(text) for name, text in record.get("addresses", {}).items()},
        file=document["file"] or "",
        merged="" if merged["rc"] else merged["out"],
        problem=said if merged["rc"] else "",
        neighbours=document["neighbours"],
        dynamic=frozenset(document["dynamic"]),
    )


def undecided(facts: Facts) -> list[str]:
    """Interfaces at which to look for neighbours: where a node has two cables and not all have addresses."""
    halves = active(facts)
    if len(ports([facts])) < 2 or all(_global(facts, half.netdev) for half in halves):
        return []
    return [half.netdev for half in halves]


def choose(
    stack: str, nodes: Sequence[Facts], looks: Sequence[Seen], given: Sequence[Sequence[IPv4Address]]
) -> Choice:
    """Every node's addresses. `given[i]` are nodes[i].fabric.

    Raises PlanError or NotPrepared, before anything is touched, where it cannot be told how the nodes are
    cabled, or where an interface is configured by somebody else.
    """
    nothing = tuple(NodeAddresses() for _ in nodes)
    if len(nodes) == 1:
        return Choice(nothing)
    ours = [look.addresses if look.stack == stack else {} for look in looks]
    now = {
        (i, half.netdev): address
        for i, facts in enumerate(nodes)
        for half in active(facts)
        if (address := _global(facts, half.netdev))
    }
    if not any(ours) and _complete(nodes, now) and _has_given(now, given):
        return Choice(nothing, ("fabric: all nodes have working addresses; nothing is written.",))
    fixed = _fixed(nodes, looks, ours, now, given)
    whole = fixed if _all_fixed(nodes, fixed) else _filled(nodes, looks, fixed)
    _must_join(nodes, looks, whole)
    parts = []
    for i, (facts, look) in enumerate(zip(nodes, looks, strict=True)):
        write = {
            netdev: address
            for (j, netdev), address in whole.items()
            if j == i and (netdev in ours[i] or now.get((i, netdev)) != address)
        }
        _refuse_others(stack, facts, look, write)
        parts.append(NodeAddresses(write, _repair(facts, look, write) if ours[i] else ""))
    notes = [
        f"fabric: {facts.node}: {', '.join(f'{n} {a}' for n, a in sorted(part.addresses.items()))}, "
        f"MTU {netplan.MTU}, by {netplan.FILE}."
        for facts, part in zip(nodes, parts, strict=True)
        if part.addresses
    ]
    return Choice(tuple(parts), tuple(notes))


def applied(facts: Facts, addresses: Mapping[str, IPv4Interface]) -> Facts:
    """The facts as they will be when our file is applied."""
    if not addresses:
        return facts
    hcas = tuple(
        dataclasses.replace(
            hca,
            address=addresses[hca.netdev],
            mtu=netplan.MTU,
            gid_index=hca.gid_index if hca.address == addresses[hca.netdev] and hca.gid_index else GID_INDEX,
        )
        if hca.active and hca.netdev in addresses
        else hca
        for hca in facts.hcas
    )
    there = {hca.netdev: (addresses[hca.netdev],) for hca in hcas if hca.active and hca.netdev in addresses}
    networks = {address.network for (address,) in there.values()}
    return dataclasses.replace(
        facts,
        hcas=hcas,
        interfaces={**facts.interfaces, **there},
        routes=(*facts.routes, *sorted(networks - set(facts.routes))),
        netplan=tuple(sorted({*facts.netplan, netplan.FILE_NAME})),
    )


def taken_back(facts: Facts, addresses: Mapping[str, IPv4Interface]) -> Facts:
    """The facts as they will be without our file: where `fabric` went from configure to detect."""
    gone = {netdev for netdev, address in addresses.items() if address in facts.interfaces.get(netdev, ())}
    return dataclasses.replace(
        facts,
        hcas=tuple(
            dataclasses.replace(hca, address=None, gid_index=None) if hca.netdev in gone else hca
            for hca in facts.hcas
        ),
        interfaces={name: () if name in gone else found for name, found in facts.interfaces.items()},
        netplan=tuple(name for name in facts.netplan if name != netplan.FILE_NAME),
    )


def _global(facts: Facts, netdev: str) -> IPv4Interface | None:
    """The interface's address, but for link-local ones that nobody chose."""
    return next((a for a in facts.interfaces.get(netdev, ()) if not a.is_link_local), None)


def _all_fixed(nodes: Sequence[Facts], addresses: Mapping[Half, IPv4Interface]) -> bool:
    return all((i, half.netdev) in addresses for i, facts in enumerate(nodes) for half in active(facts))


def _complete(nodes: Sequence[Facts], addresses: Mapping[Half, IPv4Interface]) -> bool:
    """Whether all halves have addresses that differ, each in a subnet with another node's, and all meet."""
    networks = [{a.network for (j, _), a in addresses.items() if j == i} for i in range(len(nodes))]
    alone = any(
        address.network not in set().union(*(networks[k] for k in range(len(nodes)) if k != i))
        for (i, _), address in addresses.items()
    )
    return (
        _all_fixed(nodes, addresses)
        and not alone
        and len({address.ip for address in addresses.values()}) == len(addresses)
        and all(one & other for one, other in combinations(networks, 2))
    )


def _has_given(now: Mapping[Half, IPv4Interface], given: Sequence[Sequence[IPv4Address]]) -> bool:
    here = [{a.ip for (j, _), a in now.items() if j == i} for i in range(len(given))]
    return all(set(wanted) <= found for wanted, found in zip(given, here, strict=True))


def _fixed(
    nodes: Sequence[Facts],
    looks: Sequence[Seen],
    ours: Sequence[Mapping[str, IPv4Interface]],
    now: Mapping[Half, IPv4Interface],
    given: Sequence[Sequence[IPv4Address]],
) -> dict[Half, IPv4Interface]:
    """What needs no choosing: given in the configuration, ours of before, or somebody's that stays."""
    found: dict[Half, IPv4Interface] = {}
    for i, (facts, look, mine) in enumerate(zip(nodes, looks, ours, strict=True)):
        up = [half.netdev for half in active(facts)]
        if not up and not mine:
            raise NotPrepared(
                facts.node,
                "no RDMA device has a link.",
                "Plug in the QSFP cable (`ibdev2netdev` shows it Up), or use `fabric: detect`.",
            )
        for netdev in up:
            kept = mine.get(netdev) or (None if netdev in look.dynamic else now.get((i, netdev)))
            if kept and (not given[i] or kept.ip in given[i]):
                found[(i, netdev)] = kept
        if given[i]:
            found |= _given(i, facts, up, given[i], found)
        elif set(up) <= set(mine):
            # A cable that is out for now: what we wrote for it stays.
            found |= {(i, netdev): address for netdev, address in mine.items()}
    return found


def _given(
    i: int,
    facts: Facts,
    up: Sequence[str],
    wanted: Sequence[IPv4Address],
    found: Mapping[Half, IPv4Interface],
) -> dict[Half, IPv4Interface]:
    """The configured addresses that are nowhere yet, in order on the halves that have none."""
    placed = {address.ip for (j, _), address in found.items() if j == i}
    rest = [address for address in wanted if address not in placed]
    room = [netdev for netdev in up if (i, netdev) not in found]
    if len(rest) > len(room):
        raise PlanError(
            f"{facts.node}: nodes[].fabric has {len(wanted)} addresses for {len(up)} interfaces with a link "
            f"({', '.join(up) or 'none'}). Give one for each, in this order."
        )
    return {(i, n): IPv4Interface((address, PREFIX)) for n, address in zip(room, rest, strict=False)}


def _filled(
    nodes: Sequence[Facts], looks: Sequence[Seen], fixed: Mapping[Half, IPv4Interface]
) -> dict[Half, IPv4Interface]:
    """`fixed`, and an address for every other half that has a counterpart."""
    found = dict(fixed)
    fresh = free(nodes, {address.network for address in fixed.values()})
    number = numbers(nodes)
    for rail in rails(nodes, segments(nodes, [look.neighbours for look in looks], fixed)):
        there = {found[half].network for half in rail.halves if half in found}
        if len(there) > 1:
            listed = ", ".join(
                f"{nodes[i].node} {n} {found[(i, n)]}" for i, n in rail.halves if (i, n) in found
            )
            raise PlanError(
                f"fabric: halves of one cable or switch are in different subnets: {listed}. Give all nodes "
                "addresses in nodes[].fabric, one subnet per half."
            )
        missing = [half for half in rail.halves if half not in found]
        subnet = next(iter(there), None) or (next(fresh) if missing else None)
        for half in missing:
            assert subnet is not None
            found[half] = host(subnet, number[half[0]], {address.ip for address in found.values()})
    return found


def _must_join(
    nodes: Sequence[Facts], looks: Sequence[Seen], whole: Mapping[Half, IPv4Interface]
) -> None:
    """Raises PlanError unless every two nodes share a subnet and no address is there twice."""
    twice: dict[IPv4Address, int] = {}
    for (i, _), address in whole.items():
        if address.ip in twice:
            raise PlanError(
                f"fabric: {address.ip} is on {nodes[twice[address.ip]].node} and on {nodes[i].node}. "
                "Correct nodes[].fabric, or the file that sets it."
            )
        twice[address.ip] = i
    networks = [{a.network for (j, _), a in whole.items() if j == i} for i in range(len(nodes))]
    for one, other in combinations(range(len(nodes)), 2):
        if not networks[one] & networks[other]:
            how = described(nodes, segments(nodes, [look.neighbours for look in looks], whole))
            raise PlanError(
                f"fabric: no common cable or switch was found for {nodes[one].node} and {nodes[other].node} "
                f"(seen: {how}). Every two nodes need one: two by cables, three as a ring, more by a switch. "
                "If they have one, give the addresses in nodes[].fabric."
            )


def _refuse_others(stack: str, facts: Facts, look: Seen, write: Mapping[str, IPv4Interface]) -> None:
    """Raises NotPrepared where writing would override what somebody else has written down."""
    if not write:
        return
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


def _repair(facts: Facts, look: Seen, write: Mapping[str, IPv4Interface]) -> str:
    """What somebody changed since we wrote it; "" when all is as it should be, or all is to go."""
    if not write:
        return ""
    if look.file != netplan.render(write):
        return f"{netplan.FILE} was {'edited' if look.file else 'removed'}"
    for half in active(facts):
        wanted = write.get(half.netdev)
        if wanted and wanted not in facts.interfaces.get(half.netdev, ()):
            return f"{half.netdev} has lost {wanted}"
        if wanted and half.mtu != netplan.MTU:
            return f"{half.netdev} has MTU {half.mtu}"
    return ""
