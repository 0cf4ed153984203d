"""What is worth a warning of a plan's cables: halves left out, halves in one subnet, crossed or mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from cluster.fabric.shape import RankNetwork, Wire, place, subnet
from cluster.facts import Facts, Hca

#: NCCL's first release that finds its way around a ring, and TensorRT-LLM's first image with it.
RING_NCCL, RING_IMAGE = "2.30.7", "1.3.0rc29"


def warnings(nodes: Sequence[Facts], ranks: Sequence[RankNetwork], chosen: Sequence[bool]) -> tuple[str, ...]:
    """A line for every half that could carry traffic and does not, and for odd addressing.

    `chosen[i]`: node i's halves were picked in the configuration, so what is left out is meant so.
    """
    return (
        *_left_out(nodes, ranks, chosen),
        *_one_subnet(nodes, ranks),
        *_several_addresses(nodes, ranks),
        *_crossed(nodes, ranks),
    )


def mirrored(nodes: Sequence[Facts], wires: Sequence[Wire]) -> tuple[str, ...]:
    """What is worth knowing of a ring; field reports: NCCL can lead a ring only from port 0 to port 1."""
    said = [
        f"the nodes form a ring, which NCCL can use from {RING_NCCL} on: the images have that from about "
        f"{RING_IMAGE} on. With an older one NCCL will not connect; a switch needs no such thing."
    ]
    for wire in wires:
        cages = [place(hca)[0] for hca in wire.ends]
        if cages[0] is not None and cages[0] == cages[1]:
            first, second = (nodes[rank].node for rank in wire.ranks)
            said.append(
                f"the cable between {first} and {second} joins port {cages[0]} to port {cages[0]}. NCCL "
                "leads a ring only where every cable joins port 0 of one node to port 1 of the next: "
                "replug it."
            )
    return tuple(dict.fromkeys(said))


def further(hcas: Sequence[Hca]) -> list[IPv4Address]:
    """Addresses of the HCAs' interfaces outside of the subnets that are used."""
    return [other.ip for hca in hcas for other in hca.others if other.ip not in subnet(hca)]


def address_range(hcas: Sequence[Hca]) -> IPv4Network | None:
    """The smallest network with all addresses that are used; None if one of `further` is in it as well.

    NCCL has one such range for all HCAs of a rank (NCCL_IB_ADDR_RANGE).
    """
    found = subnet(hcas[0])
    while not all(subnet(hca).subnet_of(found) for hca in hcas):
        found = found.supernet()
    return None if any(ip in found for ip in further(hcas)) else found


def lack(hca: Hca) -> str:
    """What keeps a half from carrying RDMA; "" when nothing does."""
    if not hca.active:
        return "has no link"
    if hca.address is None:
        return "has no IPv4 address"
    return "" if hca.has_gid else f"has no RoCE v2 GID for its address {hca.address.ip}"


def _left_out(nodes: Sequence[Facts], ranks: Sequence[RankNetwork], chosen: Sequence[bool]) -> Iterator[str]:
    lacking, apart = [], []
    for facts, rank, picked in zip(nodes, ranks, chosen, strict=True):
        cages = {place(hca)[0] for hca in rank.hcas}
        for hca in facts.hcas:
            if picked or hca in rank.hcas or place(hca)[0] not in cages or None in place(hca):
                continue
            name = f"{facts.node}: half {place(hca)[1]} of the cable ({hca.netdev}, {hca.name})"
            if reason := lack(hca):
                lacking.append(f"{name} {reason}")
            else:
                apart.append(f"{name} is in {subnet(hca)}, where not all nodes are")
    for one in lacking or apart:
        yield (
            f"{one}: half of the bandwidth is lost. Give both halves of the cable an address, on every node, "
            "in one subnet per half (`ibdev2netdev`, `ip -br addr`)."
        )


def _one_subnet(nodes: Sequence[Facts], ranks: Sequence[RankNetwork]) -> Iterator[str]:
    for facts, rank in zip(nodes, ranks, strict=True):
        for one in sorted({subnet(hca) for hca in rank.hcas}):
            names = [hca.netdev for hca in rank.hcas if subnet(hca) == one]
            if len(names) > 1:
                yield (
                    f"{facts.node}: {' and '.join(names)} are in one subnet ({one}). That works, but the "
                    "kernel may answer for one at the other; NVIDIA's rule is one subnet per half."
                )


def _several_addresses(nodes: Sequence[Facts], ranks: Sequence[RankNetwork]) -> Iterator[str]:
    """Interfaces whose addresses NCCL cannot be told to choose from."""
    for facts, rank in zip(nodes, ranks, strict=True):
        if not further(rank.hcas) or address_range(rank.hcas):
            continue
        for hca in rank.hcas:
            if hca.others:
                others = ", ".join(str(one) for one in hca.others)
                yield (
                    f"{facts.node}: {hca.netdev} has {others} beside {hca.address}, and NCCL uses the "
                    "address that the interface got first. Remove the other one, or the ranks may not "
                    "connect."
                )


def _crossed(nodes: Sequence[Facts], ranks: Sequence[RankNetwork]) -> Iterator[str]:
    """Halves whose subnets are exchanged against the head's, in a fabric with subnets common to all."""
    head = {subnet(hca): place(hca)[1] for hca in ranks[0].hcas}
    common = set(head).intersection(*({subnet(hca) for hca in rank.hcas} for rank in ranks))
    if len(common) < 2 or any(len(set(map(subnet, rank.hcas))) < len(rank.hcas) for rank in ranks):
        return
    for facts, rank in zip(nodes[1:], ranks[1:], strict=True):
        other = [h for h in rank.hcas if subnet(h) in common and place(h)[1] != head[subnet(h)]]
        if other and None not in {place(hca)[1] for hca in (*rank.hcas, *ranks[0].hcas)}:
            yield (
                f"{facts.node}: {other[0].netdev} (half {place(other[0])[1]}) is in {subnet(other[0])}, "
                f"which is half {head[subnet(other[0])]}'s on {nodes[0].node}. NCCL pairs halves by position "
                f"and finds its way only from {RING_NCCL} on: exchange the addresses of the two halves there."
            )
