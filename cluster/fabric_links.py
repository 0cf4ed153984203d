"""Which port is cabled to which: segments of ports, and in each the halves that need a subnet together.

A cable joins two QSFP ports, and both halves of a port see all halves at its other end. A switch joins as
many ports as it has. Neighbours are known by MAC address (IPv6 link-local, before there are addresses),
by subnets in use, or because there is only one way: one port with a link on every node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from cluster.errors import NotPrepared
from cluster.facts import Facts, Hca

#: (node's number, QSFP port).
Port = tuple[int, int]
#: (node's number, interface).
Half = tuple[int, str]


@dataclass(frozen=True)
class Rail:
    """The halves that belong into one subnet: one interface of each of at least two nodes."""

    halves: tuple[Half, ...]


def active(facts: Facts) -> list[Hca]:
    """The halves with a link, by port and half; raises NotPrepared where it cannot be told which is which."""
    found = [hca for hca in facts.hcas if hca.active and hca.netdev]
    for hca in found:
        if hca.cage is None or hca.half is None:
            raise NotPrepared(
                facts.node,
                f"it cannot be told which port and half the RDMA device {hca.name} ({hca.netdev}) is.",
                "Give the interfaces addresses by hand and use `fabric: detect`.",
            )
    return sorted(found, key=lambda hca: (hca.cage, hca.half, hca.netdev))


def ports(nodes: Sequence[Facts]) -> list[Port]:
    """Every port with a link."""
    return sorted({(i, hca.cage or 0) for i, facts in enumerate(nodes) for hca in active(facts)})


def segments(
    nodes: Sequence[Facts],
    neighbours: Sequence[Mapping[str, Sequence[str]]],
    fixed: Mapping[Half, IPv4Interface],
) -> list[tuple[Port, ...]]:
    """Ports that reach each other. `neighbours[i]` maps an interface of node i to the MACs seen there;
    `fixed` are addresses that stay.
    """
    all_ports = ports(nodes)
    groups = {port: {port} for port in all_ports}

    def join(one: Port, other: Port) -> None:
        merged = groups[one] | groups[other]
        for port in merged:
            groups[port] = merged

    where = _by_netdev(nodes)
    macs = {
        hca.mac.lower(): (i, hca.cage or 0)
        for i, facts in enumerate(nodes)
        for hca in active(facts)
        if hca.mac
    }
    for i, seen in enumerate(neighbours):
        for netdev, found in seen.items():
            for mac in found:
                if (i, netdev) in where and mac.lower() in macs:
                    join(where[(i, netdev)], macs[mac.lower()])
    halves = [half for half in fixed if half in where]
    for one in halves:
        for other in halves:
            if fixed[one].network == fixed[other].network:
                join(where[one], where[other])
    if len(all_ports) == len({i for i, _ in all_ports}):
        for port in all_ports:
            join(all_ports[0], port)
    return sorted({tuple(sorted(group)) for group in groups.values()})


def rails(nodes: Sequence[Facts], found: Sequence[tuple[Port, ...]]) -> list[Rail]:
    """What needs a subnet: in each segment, each half of each port of a node, with the others' like it.

    A node with two cables into one switch has four interfaces there, and needs four subnets.
    """
    by_place = {(i, h.cage, h.half): h.netdev for i, facts in enumerate(nodes) for h in active(facts)}
    result = []
    for segment in found:
        mine = {i: sorted(cage for j, cage in segment if j == i) for i, _ in segment}
        for k in range(max(len(cages) for cages in mine.values())):
            for half in (0, 1):
                halves = tuple(
                    (i, by_place[(i, cages[k], half)])
                    for i, cages in sorted(mine.items())
                    if k < len(cages) and (i, cages[k], half) in by_place
                )
                if len(halves) > 1:
                    result.append(Rail(halves))
    return result


def described(nodes: Sequence[Facts], found: Sequence[tuple[Port, ...]]) -> str:
    """What was seen, for an error: every segment as "a port 0 - b port 1"."""
    return "; ".join(
        " - ".join(f"{nodes[i].node} port {cage}" for i, cage in segment)
        + (" (no other node seen)" if len({i for i, _ in segment}) == 1 else "")
        for segment in found
    )


def _by_netdev(nodes: Sequence[Facts]) -> dict[Half, Port]:
    return {(i, hca.netdev): (i, hca.cage or 0) for i, facts in enumerate(nodes) for hca in active(facts)}
