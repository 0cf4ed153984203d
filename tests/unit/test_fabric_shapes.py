"""Shapes of fabrics: two cables, rings, crossed halves, mixed names; and what holds for all of them."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import fabric
from cluster.errors import PlanError
from cluster.facts import Facts, Hca
from cluster.launch import Login, launch_file
from tests import samples

#: name, netdev: the four functions of a ConnectX-7 in PCI order (half 0: both cages, half 1: both cages).
FUNCTIONS = (
    ("rocep1s0f0", "enp1s0f0np0"),
    ("rocep1s0f1", "enp1s0f1np1"),
    ("roceP2p1s0f0", "enP2p1s0f0np0"),
    ("roceP2p1s0f1", "enP2p1s0f1np1"),
)
RENAMED = tuple((f"mlx5_{number}", netdev) for number, (_, netdev) in enumerate(FUNCTIONS))


def hca(name: str, netdev: str, address: str, gid: int | None = 3) -> Hca:
    """A half; "" for no link, "up" for a link without an address."""
    interface = IPv4Interface(address) if "/" in address else None
    return Hca(name, bool(address), 200, netdev, 1500, interface, gid if interface else None)


def spark(number: int, addresses: tuple[str, str, str, str], names=FUNCTIONS) -> Facts:
    """Node `number` (from 1) with these addresses of half 0 (cage 0, cage 1) and half 1."""
    facts = samples.facts(number)[number - 1]
    hcas = tuple(hca(*function, address) for function, address in zip(names, addresses, strict=True))
    return dataclasses.replace(facts, hcas=tuple(sorted(hcas, key=lambda one: one.name)))


def plan(nodes: list[Facts], transport: fabric.Wanted = "auto") -> fabric.Fabric:
    return fabric.plan(nodes, [[] for _ in nodes], transport)


def names(found: fabric.Fabric) -> list[list[str]]:
    return [[one.name for one in rank.hcas] for rank in found.ranks]


def ring() -> list[Facts]:
    """NVIDIA's ring of three: port 0 to the next one's port 1, two subnets per cable."""
    return [
        spark(1, ("192.168.0.1/24", "192.168.4.1/24", "192.168.1.1/24", "192.168.5.1/24")),
        spark(2, ("192.168.2.2/24", "192.168.0.2/24", "192.168.3.2/24", "192.168.1.2/24")),
        spark(3, ("192.168.4.3/24", "192.168.2.3/24", "192.168.5.3/24", "192.168.3.3/24")),
    ]


def test_two_cables_are_four_hcas():
    nodes = [spark(i, tuple(f"192.168.{net}.{i}/24" for net in (10, 11, 12, 13))) for i in (1, 2)]
    found = plan(nodes)
    assert [len(rank.hcas) for rank in found.ranks] == [4, 4]
    assert len(fabric.wires(found)) == 4
    assert (found.warnings, found.by_subnet) == ((), False)


def test_a_ring_of_three_meets_on_the_management_network():
    found = plan(ring())
    assert (found.transport, found.by_subnet, found.required) == ("IB", True, True)
    assert [len(rank.hcas) for rank in found.ranks] == [4, 4, 4]
    assert [str(rank.address) for rank in found.ranks] == ["10.24.11.11", "10.24.11.12", "10.24.11.13"]
    assert {rank.interface for rank in found.ranks} == {"enP7s7"}
    assert found.networks == (IPv4Network("10.24.11.0/24"),)
    assert [wire.ranks for wire in fabric.wires(found)] == [(0, 1)] * 2 + [(1, 2)] * 2 + [(0, 2)] * 2
    [warning] = found.warnings
    assert "2.30.7" in warning


def test_a_rings_environment():
    mine = fabric.environment(plan(ring()), 1, {})
    assert {name: mine[name] for name in mine if name not in ("NCCL_DEBUG", "NCCL_DEBUG_SUBSYS")} == {
        "GLOO_SOCKET_IFNAME": "enP7s7",
        "NCCL_CROSS_NIC": "1",
        "NCCL_IB_ADDR_FAMILY": "AF_INET",
        "NCCL_IB_HCA": "=rocep1s0f1:1,roceP2p1s0f1:1,rocep1s0f0:1,roceP2p1s0f0:1",
        "NCCL_IB_MERGE_NICS": "0",
        "NCCL_IB_ROCE_VERSION_NUM": "2",
        "NCCL_IB_SUBNET_AWARE_ROUTING": "1",
        "NCCL_NET": "IB",
        "NCCL_NET_PLUGIN": "none",
        "NCCL_SOCKET_IFNAME": "=enP7s7",
        "OMPI_MCA_btl_tcp_if_include": "10.24.11.0/24",
        "UCX_NET_DEVICES": "enP7s7",
    }


def test_a_rings_ranks_are_launched_over_management():
    text = launch_file(plan(ring()), [Login("nvidia", 22, samples.HOST_KEY)] * 3, 30, 0, "")
    assert '"subnet": "10.24.11.0/24"' in text
    assert "192.168" not in text


def test_a_ring_whose_management_is_routed_names_every_network():
    nodes = ring()
    far = {**nodes[2].interfaces, "enP7s7": (IPv4Interface("10.24.99.13/24"),)}
    nodes[2] = dataclasses.replace(nodes[2], address=far["enP7s7"][0].ip, interfaces=far)
    assert [str(one) for one in plan(nodes).networks] == ["10.24.11.0/24", "10.24.99.0/24"]


def test_a_mirrored_ring_is_told():
    """Cages 0 of nodes 1 and 2 joined: as recorded in the field, NCCL cannot lead that ring."""
    nodes = ring()
    nodes[1] = spark(2, ("192.168.0.2/24", "192.168.2.2/24", "192.168.1.2/24", "192.168.3.2/24"))
    warnings = plan(nodes).warnings
    assert "between 10.24.11.11 and 10.24.11.12 joins port 0 to port 0" in warnings[1]


def test_a_ring_with_a_cable_missing_is_refused_with_the_two_that_lack_it():
    nodes = ring()
    nodes[1] = spark(2, ("", "192.168.0.2/24", "", "192.168.1.2/24"))
    with pytest.raises(PlanError, match=r"10\.24\.11\.12 and 10\.24\.11\.13 share no subnet"):
        plan(nodes)


def test_four_in_a_ring_have_no_path_across():
    nets = [(0, 1), (2, 3), (4, 5), (6, 7)]  # the cable from node i to the next
    nodes = []
    for i in range(4):
        (out0, out1), (in0, in1) = nets[i], nets[i - 1]
        nodes.append(spark(i + 1, tuple(f"192.168.{net}.{i + 1}/24" for net in (out0, in0, out1, in1))))
    with pytest.raises(PlanError, match="more than three nodes have no path across"):
        plan(nodes)


def test_four_behind_a_switch_with_mixed_names_and_ports():
    nodes = [
        spark(1, ("192.168.100.1/24", "", "192.168.101.1/24", "")),
        spark(2, ("", "192.168.100.2/24", "", "192.168.101.2/24")),
        spark(3, ("192.168.100.3/24", "", "192.168.101.3/24", ""), RENAMED),
        spark(4, ("", "192.168.100.4/24", "", "192.168.101.4/24"), RENAMED),
    ]
    found = plan(nodes)
    assert names(found) == [
        ["rocep1s0f0", "roceP2p1s0f0"],
        ["rocep1s0f1", "roceP2p1s0f1"],
        ["mlx5_0", "mlx5_2"],
        ["mlx5_1", "mlx5_3"],
    ]
    assert (found.by_subnet, found.warnings) == (False, ())


def test_crossed_halves_are_paired_by_subnet_and_told():
    nodes = [
        spark(1, ("192.168.100.1/24", "", "192.168.101.1/24", "")),
        spark(2, ("192.168.101.2/24", "", "192.168.100.2/24", "")),
    ]
    found = plan(nodes)
    assert names(found) == [["rocep1s0f0", "roceP2p1s0f0"], ["roceP2p1s0f0", "rocep1s0f0"]]
    assert found.by_subnet
    assert fabric.environment(found, 0, {})["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1"
    assert any("exchange the addresses of the two halves" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("twin", "said"),
    [("up", "has no IPv4 address"), ("", "has no link"), ("10.9.9.2/24", "is in 10.9.9.0/24")],
)
def test_the_half_that_is_left_out_is_named(twin, said):
    nodes = [
        spark(1, ("192.168.100.1/24", "", "192.168.101.1/24", "")),
        spark(2, ("192.168.100.2/24", "", twin, "")),
    ]
    found = plan(nodes)
    assert names(found) == [["rocep1s0f0"], ["rocep1s0f0"]]
    assert any(
        f"10.24.11.12: half 1 of the cable (enP2p1s0f0np0, roceP2p1s0f0) {said}" in w for w in found.warnings
    )
    assert found.required


def test_halves_that_were_chosen_away_are_not_complained_of():
    nodes = [spark(i, (f"192.168.100.{i}/24", "", f"192.168.101.{i}/24", "")) for i in (1, 2)]
    chosen = [[IPv4Address(f"192.168.100.{i}")] for i in (1, 2)]
    assert fabric.plan(nodes, chosen).warnings == ()


addresses = st.sampled_from(["", "up", *(f"192.168.{net}.N/24" for net in range(5))])
sparks = st.tuples(
    st.tuples(addresses, addresses, addresses, addresses), st.sampled_from([FUNCTIONS, RENAMED])
)


@given(st.lists(sparks, min_size=2, max_size=8), st.sampled_from(["auto", "rdma", "any"]))
@settings(deadline=None, max_examples=100)
def test_whatever_the_cables(kinds, transport):
    nodes = [
        spark(i, tuple(a.replace("N", str(10 * n + i)) for n, a in enumerate(mine, start=1)), kind)
        for i, (mine, kind) in enumerate(kinds, start=1)
    ]
    try:
        found = plan(nodes, transport)
    except PlanError as error:
        said = str(error)
        assert (transport != "any", "transport any" in said) == (True, True)
        return
    assert len(found.ranks) == len(nodes)
    assert found.networks
    for facts, rank in zip(nodes, found.ranks, strict=True):
        assert all(one.usable and one in facts.hcas for one in rank.hcas)
        assert any(rank.address == entry.ip for entry in facts.interfaces.get(rank.interface, ())) or any(
            one.address is not None and one.address.ip == rank.address for one in rank.hcas
        )
        assert any(rank.address in network for network in found.networks)
    if found.transport == "Socket":
        assert not found.required
        assert found.warnings
        return
    for one, other in combinations(found.ranks, 2):
        assert {h.address.network for h in one.hcas} & {h.address.network for h in other.hcas}
    if not found.by_subnet:
        # Equal places in NCCL's own order face each other.
        orders = [[h.address.network for h in sorted(r.hcas, key=fabric.pcie_order)] for r in found.ranks]
        assert all(order == orders[0] for order in orders)
    for wire in fabric.wires(found):
        assert all(end.address.network == wire.subnet for end in wire.ends)
    nets = [{h.address.network for h in rank.hcas} for rank in found.ranks]
    for rank, mine in enumerate(nets):
        elsewhere = set().union(*(other for at, other in enumerate(nets) if at != rank))
        assert mine <= elsewhere, "an HCA that faces nothing"
