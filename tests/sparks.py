"""Sparks by their cables: facts of nodes in the shapes that people have, with no addresses on the fabric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface

from cluster.fabric_files import Seen
from cluster.facts import Facts, Hca
from tests import samples

#: What a node has by its QSFP port and half: (RDMA device, interface).
NAMES = {
    (0, 0): ("rocep1s0f0", "enp1s0f0np0"),
    (0, 1): ("roceP2p1s0f0", "enP2p1s0f0np0"),
    (1, 0): ("rocep1s0f1", "enp1s0f1np1"),
    (1, 1): ("roceP2p1s0f1", "enP2p1s0f1np1"),
}
#: Cables as ((node, port), (node, port)), nodes from 0; field.md's ring is NVIDIA's.
RING = (((0, 0), (1, 1)), ((1, 0), (2, 1)), ((2, 0), (0, 1)))
FRESH = "network:\n  version: 2\n  renderer: NetworkManager\n"


def mac(node: int, cage: int, half: int) -> str:
    return f"3c:6d:66:00:{node:02x}:{cage}{half}"


def spark(node: int, cages: Sequence[int], octet: int | None = None) -> Facts:
    """A node with a link on these ports and nothing but its management address (10.24.11.x)."""
    facts = samples.facts(1)[0]
    address = IPv4Address(f"10.24.11.{11 + node if octet is None else octet}")
    return dataclasses.replace(
        facts,
        node=f"spark-{node + 1}",
        address=address,
        management="enP7s7",
        hcas=tuple(
            Hca(name, cage in cages, 200, netdev, 1500, None, None, "", half, cage, mac(node, cage, half))
            for (cage, half), (name, netdev) in NAMES.items()
        ),
        interfaces={
            "lo": (IPv4Interface("127.0.0.1/8"),),
            "docker0": (IPv4Interface("172.17.0.1/16"),),
            "enP7s7": (IPv4Interface(f"{address}/24"),),
        },
        routes=(),
        netplan=("01-network-manager-all.yaml",),
        daemon_json={},
    )


def with_addresses(facts: Facts, addresses: Mapping[str, str]) -> Facts:
    """`facts` with addresses that somebody else set; link-local ones have no use for a rank."""
    found = {netdev: IPv4Interface(text) for netdev, text in addresses.items()}
    return dataclasses.replace(
        facts,
        hcas=tuple(
            dataclasses.replace(hca, address=found[hca.netdev], has_gid=True) if hca.netdev in found else hca
            for hca in facts.hcas
        ),
        interfaces={**facts.interfaces, **{netdev: (address,) for netdev, address in found.items()}},
    )


def looks(nodes: Sequence[Facts], cables: Sequence[Sequence[tuple[int, int]]] = ()) -> list[Seen]:
    """Fresh nodes, of which the ports of each of `cables` (two, or more at a switch) see each other."""
    found: list[dict[str, list[str]]] = [{} for _ in nodes]
    for ends in cables:
        for node, cage in ends:
            heard = [mac(n, c, h) for n, c in ends for h in (0, 1) if (n, c) != (node, cage)]
            # The other half of the same port is on the same wire.
            for half in (0, 1):
                found[node][NAMES[(cage, half)][1]] = [*heard, mac(node, cage, 1 - half)]
    return [Seen(merged=FRESH, neighbours=seen) for seen in found]
