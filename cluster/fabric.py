"""Which network the ranks talk over, and each rank's environment for it.

Every rank gets its own variables, from its own machine's facts: cables may sit in different ports and
devices may have different names on the two sides. Sources: NVIDIA's two-Spark playbook (interface
variables), NCCL's documentation of NCCL_IB_HCA and NCCL_SOCKET_IFNAME (a leading `=` is an exact name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from cluster.errors import PlanError
from cluster.facts import Facts, Hca

Transport = Literal["IB", "Socket", "none"]


@dataclass(frozen=True)
class RankNetwork:
    """How one rank is reached and what it sends through."""

    address: IPv4Address
    interface: str
    hcas: tuple[Hca, ...]


@dataclass(frozen=True)
class Fabric:
    """The network of all ranks, head first. `subnet` is where mpirun and NCCL's bootstrap meet."""

    transport: Transport
    subnet: IPv4Network | None
    ranks: tuple[RankNetwork, ...]
    warnings: tuple[str, ...] = ()


def plan(nodes: Sequence[Facts], wanted: Sequence[Sequence[IPv4Address]]) -> Fabric:
    """The best network that all nodes share.

    `wanted[i]` are the fabric addresses configured for node i (empty: whatever it has). Over RDMA where
    every node has a usable half in a common subnet, else over sockets on the management network with a
    warning that says what is missing. Raises PlanError when a configured address is not on its node.
    """
    halves = [_halves(facts, chosen) for facts, chosen in zip(nodes, wanted, strict=True)]
    if len(nodes) == 1:
        return Fabric("none", None, (_management(nodes[0]),))
    shared = [
        subnet
        for subnet in sorted({_subnet(hca) for hca in halves[0]})
        if all(any(_subnet(hca) == subnet for hca in mine) for mine in halves[1:])
    ]
    if not shared:
        return _over_sockets(nodes, halves)
    ranks = tuple(_over_rdma(mine, shared) for mine in halves)
    return Fabric("IB", shared[0], ranks)


def environment(fabric: Fabric, rank: int, overrides: Mapping[str, str]) -> dict[str, str]:
    """NCCL's, UCX's and Gloo's variables for one rank; `overrides` are the user's and win."""
    network = fabric.ranks[rank]
    found = {"NCCL_DEBUG": "INFO"}
    if fabric.transport != "none":
        found |= {
            "NCCL_SOCKET_IFNAME": f"={network.interface}",
            "GLOO_SOCKET_IFNAME": network.interface,
        }
    if fabric.transport == "IB":
        devices = ",".join(f"{hca.name}:1" for hca in network.hcas)
        found |= {"NCCL_IB_HCA": f"={devices}", "UCX_NET_DEVICES": devices}
        indexes = {hca.gid_index for hca in network.hcas}
        if len(indexes) == 1:
            found["NCCL_IB_GID_INDEX"] = str(indexes.pop())
    if fabric.transport == "Socket":
        found |= {"NCCL_IB_DISABLE": "1", "UCX_NET_DEVICES": network.interface}
    return dict(sorted({**found, **overrides}.items()))


def expected_transport(fabric: Fabric, overrides: Mapping[str, str]) -> Transport:
    """What the ranks must report: the plan's transport, unless the user turned RDMA off."""
    off = overrides.get("NCCL_IB_DISABLE") == "1" or overrides.get("NCCL_NET") == "Socket"
    return "Socket" if off and fabric.transport == "IB" else fabric.transport


def _halves(facts: Facts, chosen: Sequence[IPv4Address]) -> list[Hca]:
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


def _subnet(hca: Hca) -> IPv4Network:
    assert hca.address is not None
    return hca.address.network


def _over_rdma(mine: Sequence[Hca], shared: Sequence[IPv4Network]) -> RankNetwork:
    hcas = tuple(hca for hca in mine if _subnet(hca) in shared)
    first = next(hca for hca in hcas if _subnet(hca) == shared[0])
    assert first.address is not None
    return RankNetwork(first.address.ip, first.netdev, hcas)


def _over_sockets(nodes: Sequence[Facts], halves: Sequence[Sequence[Hca]]) -> Fabric:
    without = [facts.node for facts, mine in zip(nodes, halves, strict=True) if not mine]
    why = (
        f"{', '.join(without)}: no RDMA device with an active link and an IPv4 address"
        if without
        else "the nodes' RDMA addresses share no subnet"
    )
    warning = (
        f"{why}. The ranks will talk over sockets on the management network, many times slower. "
        "Check the QSFP cable and the addresses of its two interfaces (`ibdev2netdev`, `ip -br addr`)."
    )
    ranks = tuple(_management(facts) for facts in nodes)
    return Fabric("Socket", _network(nodes[0]), ranks, (warning,))


def _management(facts: Facts) -> RankNetwork:
    for name, addresses in facts.interfaces.items():
        if any(address.ip == facts.address for address in addresses):
            return RankNetwork(facts.address, name, ())
    raise PlanError(
        f"{facts.node}: none of its interfaces has the address {facts.address} that ssh reached. "
        "Is it behind address translation? List it by the address of its own interface."
    )


def _network(facts: Facts) -> IPv4Network:
    for addresses in facts.interfaces.values():
        for address in addresses:
            if address.ip == facts.address:
                return address.network
    raise PlanError(f"{facts.node}: no interface has the address {facts.address}.")
