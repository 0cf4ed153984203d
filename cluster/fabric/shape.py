"""What a fabric is: ranks, their HCAs, and where an HCA sits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from cluster.facts import Hca

Transport = Literal["IB", "Socket", "none"]

#: The PCI half and the cage by the kernel's interface name: enp1s0f0np0, enP2p1s0f1np1.
_NETDEV = re.compile(r"en(P\d+)?p\d+s\d+f(\d+)")


@dataclass(frozen=True)
class RankNetwork:
    """How one rank is reached (mpirun, NCCL's bootstrap), and the HCAs it sends through.

    The HCAs of all ranks stand in one order, by the subnets they share: equal places face each other
    wherever one subnet is common to all.
    """

    address: IPv4Address
    interface: str
    hcas: tuple[Hca, ...]


@dataclass(frozen=True)
class Fabric:
    """The network of all ranks, head first.

    `networks`: where mpirun and NCCL's bootstrap meet; one, unless management is routed. `required`: a
    rank that falls back to sockets is a failure. `by_subnet`: NCCL has to choose each peer's HCA by its
    subnet, because equal places in its own order of devices do not face each other (rings).
    """

    transport: Transport
    networks: tuple[IPv4Network, ...]
    ranks: tuple[RankNetwork, ...]
    warnings: tuple[str, ...] = ()
    required: bool = False
    by_subnet: bool = False

    @property
    def subnet(self) -> IPv4Network | None:
        """The first network where the ranks meet; None for one rank."""
        return self.networks[0] if self.networks else None


@dataclass(frozen=True)
class Wire:
    """Two HCAs that face each other in one subnet: half a cable, or a way through the switch."""

    ranks: tuple[int, int]
    subnet: IPv4Network
    ends: tuple[Hca, Hca]


def wires(fabric: Fabric) -> tuple[Wire, ...]:
    """What faces what, between neighbours in the order of ranks (the last and the first are too)."""
    count = len(fabric.ranks)
    neighbours = [(rank, rank + 1) for rank in range(count - 1)] + ([(0, count - 1)] if count > 2 else [])
    found = []
    for first, second in neighbours:
        there = list(fabric.ranks[second].hcas)
        for hca in fabric.ranks[first].hcas:
            facing = next((other for other in there if subnet(other) == subnet(hca)), None)
            if facing is not None:
                there.remove(facing)
                found.append(Wire((first, second), subnet(hca), (hca, facing)))
    return tuple(found)


def subnet(hca: Hca) -> IPv4Network:
    """Where a usable HCA is."""
    assert hca.address is not None
    return hca.address.network


def place(hca: Hca) -> tuple[int | None, int | None]:
    """(cage, half) of an HCA: which QSFP port, which PCI function of it; None where nothing tells."""
    if hca.cage is not None and hca.half is not None:
        return hca.cage, hca.half
    found = _NETDEV.match(hca.netdev)
    return (int(found[2]), int(found[1] is not None)) if found else (hca.cage, hca.half)


def pcie_order(hca: Hca) -> tuple[int, int, str]:
    """A key for the order in which the kernel, and so NCCL, lists a Spark's HCAs: by PCI address.

    NCCL_IB_HCA only filters that list: its own order means nothing.
    """
    cage, half = place(hca)
    return (9 if half is None else half, 9 if cage is None else cage, hca.name)
