"""The plan: which halves of which cables carry the ranks' traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Literal

from cluster.errors import PlanError
from cluster.fabric import halves
from cluster.fabric.shape import Fabric, RankNetwork, pcie_order, subnet, wires
from cluster.facts import Facts, Hca

#: The configuration's `transport`. auto: rdma where every node has an active HCA with an address.
Wanted = Literal["auto", "rdma", "any"]


def plan(
    nodes: Sequence[Facts], wanted: Sequence[Sequence[IPv4Address]], transport: Wanted = "auto"
) -> Fabric:
    """The best network that all nodes share.

    `wanted[i]` are the fabric addresses configured for node i (empty: whatever it has). Over RDMA where
    all nodes, or in a ring every two of them, share a subnet of usable halves; else over sockets on the
    management network, with a warning. Raises PlanError when a configured address is not on its node, and
    when RDMA is required (see `Wanted`) and cannot be had.
    """
    mine = [_usable(facts, chosen) for facts, chosen in zip(nodes, wanted, strict=True)]
    if len(nodes) == 1:
        return Fabric("none", (), (_management(nodes[0]),))
    required = transport == "rdma" or (transport == "auto" and all(mine))
    common = _common(mine)
    if not common and not _pairwise(mine):
        return _over_sockets(nodes, mine, required)
    fabric = _in_common(mine, common) if common else _around(nodes, mine)
    warnings = halves.warnings(nodes, fabric.ranks, [bool(chosen) for chosen in wanted])
    return Fabric(
        fabric.transport,
        fabric.networks,
        fabric.ranks,
        (*fabric.warnings, *warnings),
        required,
        fabric.by_subnet,
    )


def _usable(facts: Facts, chosen: Sequence[IPv4Address]) -> list[Hca]:
    usable = [hca for hca in facts.hcas if hca.usable]
    here = {hca.address.ip for hca in usable if hca.address}
    for address in chosen:
        if address not in here:
            found = ", ".join(str(ip) for ip in sorted(here)) or "none"
            raise PlanError(
                f"{facts.node}: the fabric address {address} from the configuration is on no active RDMA "
                f"device (found: {found}). Correct nodes[].fabric, or leave it out to use what is found."
            )
    return [hca for hca in usable if not chosen or (hca.address and hca.address.ip in chosen)]


def _subnets(mine: Iterable[Hca]) -> set[IPv4Network]:
    return {subnet(hca) for hca in mine}


def _common(mine: Sequence[Sequence[Hca]]) -> list[IPv4Network]:
    return sorted(set.intersection(*(_subnets(hcas) for hcas in mine)))


def _pairwise(mine: Sequence[Sequence[Hca]]) -> bool:
    """Whether every two nodes share a subnet: with no subnet common to all, a ring of three."""
    return all(_subnets(one) & _subnets(other) for one, other in combinations(mine, 2))


def _in_order(mine: Iterable[Hca], allowed: Iterable[IPv4Network]) -> tuple[Hca, ...]:
    kept = set(allowed)
    return tuple(
        sorted((h for h in mine if subnet(h) in kept), key=lambda hca: (subnet(hca), pcie_order(hca)))
    )


def _in_common(mine: Sequence[Sequence[Hca]], common: Sequence[IPv4Network]) -> Fabric:
    ranks = []
    for hcas in mine:
        ordered = _in_order(hcas, common)
        assert ordered[0].address is not None
        ranks.append(RankNetwork(ordered[0].address.ip, ordered[0].netdev, ordered))
    crossed = len({tuple(subnet(h) for h in sorted(rank.hcas, key=pcie_order)) for rank in ranks}) > 1
    return Fabric("IB", (common[0],), tuple(ranks), by_subnet=crossed)


def _around(nodes: Sequence[Facts], mine: Sequence[Sequence[Hca]]) -> Fabric:
    """A ring: every two nodes have a cable of their own, and all meet on the management network."""
    ranks = []
    for index, (facts, hcas) in enumerate(zip(nodes, mine, strict=True)):
        others = [_subnets(other) for place, other in enumerate(mine) if place != index]
        shared = set().union(*others) & _subnets(hcas)
        reached = _management(facts)
        ranks.append(RankNetwork(reached.address, reached.interface, _in_order(hcas, shared)))
    fabric = Fabric("IB", _networks(nodes), tuple(ranks), by_subnet=True)
    return Fabric("IB", fabric.networks, fabric.ranks, halves.mirrored(nodes, wires(fabric)), by_subnet=True)


def _over_sockets(nodes: Sequence[Facts], mine: Sequence[Sequence[Hca]], required: bool) -> Fabric:
    why = _missing(nodes, mine)
    look = "Check the QSFP cable and the addresses of its two interfaces (`ibdev2netdev`, `ip -br addr`)."
    if required:
        raise PlanError(
            f"{why}: RDMA cannot be used. {look} To go on over sockets on the management network, many times "
            "slower: `pulumi config set transport any`."
        )
    warning = f"{why}. The ranks will talk over sockets on the management network, many times slower. {look}"
    ranks = tuple(_management(facts) for facts in nodes)
    return Fabric("Socket", _networks(nodes), ranks, (warning,))


def _missing(nodes: Sequence[Facts], mine: Sequence[Sequence[Hca]]) -> str:
    without = [facts.node for facts, hcas in zip(nodes, mine, strict=True) if not hcas]
    if without:
        return f"{', '.join(without)}: no RDMA device with an active link and an IPv4 address"
    apart = [
        f"{nodes[a].node} and {nodes[b].node}"
        for a, b in combinations(range(len(nodes)), 2)
        if not _subnets(mine[a]) & _subnets(mine[b])
    ]
    ring = " (without a switch, more than three nodes have no path across)" if len(nodes) > 3 else ""
    return f"the RDMA addresses of {apart[0] if apart else 'the nodes'} share no subnet{ring}"


def _management(facts: Facts) -> RankNetwork:
    for name, addresses in facts.interfaces.items():
        if any(address.ip == facts.address for address in addresses):
            return RankNetwork(facts.address, name, ())
    raise PlanError(
        f"{facts.node}: none of its interfaces has the address {facts.address} that ssh reached. "
        "Is it behind address translation? List it by the address of its own interface."
    )


def _networks(nodes: Sequence[Facts]) -> tuple[IPv4Network, ...]:
    """The networks of the addresses that ssh reached, each once, the head's first."""
    found = []
    for facts in nodes:
        _management(facts)
        for addresses in facts.interfaces.values():
            found += [address.network for address in addresses if address.ip == facts.address]
    return tuple(dict.fromkeys(found))
