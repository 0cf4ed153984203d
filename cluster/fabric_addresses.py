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

from cluster import netplan
from cluster.errors import NotPrepared, PlanError
from cluster.fabric_files import Seen, refuse_others, repair
from cluster.fabric_links import Half, active, described, ports, rails, segments
from cluster.fabric_subnets import PREFIX, free, host, numbers
from cluster.facts import Facts


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
        if write:
            refuse_others(stack, facts, look, write)
        parts.append(NodeAddresses(write, repair(facts, look, write) if write and ours[i] else ""))
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
            has_gid=True,  # waited for when the address is set
            others=(),
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
            dataclasses.replace(hca, address=None, has_gid=False) if hca.netdev in gone else hca
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
        theirs = {netdev: now.get((i, netdev)) for netdev in up if netdev not in look.dynamic}
        kept = {netdev: address for netdev, address in {**theirs, **mine}.items() if address and netdev in up}
        if not given[i] and set(up) <= set(mine):
            # A cable that is out for now: what we wrote for it stays.
            kept = dict(mine)
        chosen = {**kept, **_given(facts, up, given[i], kept)}
        found |= {(i, netdev): address for netdev, address in chosen.items()}
    return found


def _given(
    facts: Facts, up: Sequence[str], wanted: Sequence[IPv4Address], kept: Mapping[str, IPv4Interface]
) -> dict[str, IPv4Interface]:
    """The configured addresses by interface: where they are already, the others in order on the rest."""
    placed = {netdev: address for netdev, address in kept.items() if address.ip in wanted}
    rest = [one for one in wanted if one not in {address.ip for address in placed.values()}]
    room = [netdev for netdev in up if netdev not in placed]
    if len(rest) > len(room):
        raise PlanError(
            f"{facts.node}: nodes[].fabric has {len(wanted)} addresses for {len(up)} interfaces with a link "
            f"({', '.join(up) or 'none'}). Give one for each, in this order."
        )
    return placed | {n: IPv4Interface((one, PREFIX)) for n, one in zip(room, rest, strict=False)}


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


def _must_join(nodes: Sequence[Facts], looks: Sequence[Seen], whole: Mapping[Half, IPv4Interface]) -> None:
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
