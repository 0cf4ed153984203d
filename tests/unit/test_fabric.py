"""The network of the ranks: which one is chosen, and every rank's environment for it."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from cluster import fabric
from cluster.errors import PlanError
from cluster.facts import Facts
from tests import samples


def edited(facts: Facts, **changes: dict[str, Any]) -> Facts:
    """The same node with some HCAs changed, by the HCA's name."""
    hcas = tuple(dataclasses.replace(hca, **changes.get(hca.name, {})) for hca in facts.hcas)
    return dataclasses.replace(facts, hcas=hcas)


def plan(nodes: list[Facts], *wanted: list[str]) -> fabric.Fabric:
    addresses = [[IPv4Address(a) for a in mine] for mine in wanted] or [[] for _ in nodes]
    return fabric.plan(nodes, addresses)


def names(rank: fabric.RankNetwork) -> list[str]:
    return [hca.name for hca in rank.hcas]


DEBUG = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET,ENV"}
NO_LINK = {"active": False, "address": None, "has_gid": False}


def test_two_cabled_sparks_use_both_halves():
    found = plan(samples.facts(2))
    assert (found.transport, found.subnet) == ("IB", IPv4Network("192.168.100.0/24"))
    assert [str(rank.address) for rank in found.ranks] == ["192.168.100.11", "192.168.100.12"]
    assert [names(rank) for rank in found.ranks] == [["rocep1s0f0", "roceP2p1s0f0"]] * 2
    assert found.warnings == ()


@pytest.mark.parametrize("count", [3, 8])
def test_more_sparks_behind_a_switch(count):
    found = plan(samples.facts(count))
    assert found.transport == "IB"
    assert len({rank.address for rank in found.ranks}) == count


def test_one_node_needs_no_network():
    found = plan(samples.facts(1))
    assert (found.transport, found.subnet) == ("none", None)
    assert fabric.environment(found, 0, {}) == DEBUG


def test_a_half_that_only_one_side_has_is_not_used():
    head, worker = samples.facts(2)
    found = plan([head, edited(worker, roceP2p1s0f0=NO_LINK)])
    assert [names(rank) for rank in found.ranks] == [["rocep1s0f0"], ["rocep1s0f0"]]
    [warning] = found.warnings
    assert warning.startswith("10.24.11.12: half 1 of the cable (enP2p1s0f0np0, roceP2p1s0f0) has no link")


def test_the_second_halfs_subnet_serves_where_the_first_is_down():
    head, worker = samples.facts(2)
    found = plan([head, edited(worker, rocep1s0f0=NO_LINK)])
    assert (found.transport, found.subnet) == ("IB", IPv4Network("192.168.101.0/24"))
    assert [rank.interface for rank in found.ranks] == ["enP2p1s0f0np0"] * 2


def test_cables_in_different_ports_give_each_rank_its_own_names():
    head, worker = samples.facts(2)
    other = dataclasses.replace(
        worker,
        hcas=tuple(
            dataclasses.replace(h, name=h.name.replace("f0", "f1"), netdev=h.netdev.replace("f0np0", "f1np1"))
            for h in worker.hcas
            if h.usable
        ),
    )
    found = plan([head, other])
    first, second = (fabric.environment(found, rank, {}) for rank in (0, 1))
    assert first["NCCL_IB_HCA"] == "=rocep1s0f0:1,roceP2p1s0f0:1"
    assert second["NCCL_IB_HCA"] == "=rocep1s0f1:1,roceP2p1s0f1:1"
    assert second["NCCL_SOCKET_IFNAME"] == "=enp1s0f1np1"


def test_both_halves_in_one_subnet_are_both_used():
    nodes = [
        edited(facts, roceP2p1s0f0={"address": IPv4Interface(f"192.168.100.{111 + i}/24")})
        for i, facts in enumerate(samples.facts(2))
    ]
    found = plan(nodes)
    assert found.subnet == IPv4Network("192.168.100.0/24")
    assert [names(rank) for rank in found.ranks] == [["rocep1s0f0", "roceP2p1s0f0"]] * 2
    assert found.ranks[0].address != found.ranks[1].address
    assert len(found.warnings) == 2
    assert all("are in one subnet (192.168.100.0/24)" in warning for warning in found.warnings)
    assert [wire.subnet for wire in fabric.wires(found)] == [IPv4Network("192.168.100.0/24")] * 2


def test_wanted_addresses_restrict_the_choice():
    found = plan(samples.facts(2), ["192.168.101.11"], [])
    assert found.subnet == IPv4Network("192.168.101.0/24")
    assert [names(rank) for rank in found.ranks] == [["roceP2p1s0f0"], ["roceP2p1s0f0"]]


def test_a_wanted_address_that_is_not_there_is_refused_with_what_is():
    with pytest.raises(PlanError) as caught:
        plan(samples.facts(2), [], ["192.168.100.99"])
    said = str(caught.value)
    assert said.startswith("10.24.11.12: the fabric address 192.168.100.99")
    assert "192.168.100.12, 192.168.101.12" in said


def test_no_cable_means_sockets_and_a_warning_that_names_the_node():
    head, worker = samples.facts(2)
    found = plan([head, edited(worker, rocep1s0f0=NO_LINK, roceP2p1s0f0=NO_LINK)])
    assert (found.transport, found.subnet) == ("Socket", IPv4Network("10.24.11.0/24"))
    assert [str(rank.address) for rank in found.ranks] == ["10.24.11.11", "10.24.11.12"]
    [warning] = found.warnings
    assert warning.startswith("10.24.11.12: no RDMA device")
    assert "sockets" in warning


def apart() -> list[Facts]:
    """A pair whose halves are all up, in four different subnets."""
    head, worker = samples.facts(2)
    moved = edited(
        worker,
        rocep1s0f0={"address": IPv4Interface("192.168.200.12/24")},
        roceP2p1s0f0={"address": IPv4Interface("192.168.201.12/24")},
    )
    return [head, moved]


@pytest.mark.parametrize("transport", ["auto", "rdma"])
def test_halves_without_a_common_subnet_are_refused(transport):
    with pytest.raises(PlanError) as caught:
        fabric.plan(apart(), [[], []], transport)
    said = str(caught.value)
    assert said.startswith("the RDMA addresses of 10.24.11.11 and 10.24.11.12 share no subnet: RDMA cannot")
    assert "`pulumi config set transport any`" in said


def test_halves_without_a_common_subnet_may_mean_sockets():
    found = fabric.plan(apart(), [[], []], "any")
    assert (found.transport, found.required) == ("Socket", False)
    assert "share no subnet" in found.warnings[0]


def test_rdma_that_must_be_and_has_no_cable_is_refused():
    head, worker = samples.facts(2)
    bare = edited(worker, rocep1s0f0=NO_LINK, roceP2p1s0f0=NO_LINK)
    with pytest.raises(PlanError, match=r"10\.24\.11\.12: no RDMA device with an active link"):
        fabric.plan([head, bare], [[], []], "rdma")


def test_any_uses_rdma_without_insisting():
    found = fabric.plan(samples.facts(2), [[], []], "any")
    assert (found.transport, found.required) == ("IB", False)
    assert "NCCL_NET" not in fabric.environment(found, 0, {})


def test_an_address_behind_translation_is_refused():
    head, worker = samples.facts(2)
    hidden = dataclasses.replace(head, address=IPv4Address("203.0.113.1"), hcas=())
    with pytest.raises(PlanError, match=r"none of its interfaces has the address 203\.0\.113\.1"):
        plan([hidden, worker])


def test_environment_over_rdma():
    found = plan(samples.facts(2))
    assert fabric.environment(found, 1, {}) == {
        **DEBUG,
        "GLOO_SOCKET_IFNAME": "enp1s0f0np0",
        "NCCL_IB_ADDR_FAMILY": "AF_INET",
        "NCCL_IB_HCA": "=rocep1s0f0:1,roceP2p1s0f0:1",
        "NCCL_IB_ROCE_VERSION_NUM": "2",
        "NCCL_NET": "IB",
        "NCCL_SOCKET_IFNAME": "=enp1s0f0np0",
        "OMPI_MCA_btl_tcp_if_include": "192.168.100.0/24",
        "UCX_NET_DEVICES": "enp1s0f0np0",
    }


def test_environment_over_sockets():
    bare = [dataclasses.replace(facts, hcas=()) for facts in samples.facts(2)]
    assert fabric.environment(plan(bare), 0, {}) == {
        **DEBUG,
        "GLOO_SOCKET_IFNAME": "enP7s7",
        "NCCL_IB_DISABLE": "1",
        "NCCL_SOCKET_IFNAME": "=enP7s7",
        "OMPI_MCA_btl_tcp_if_include": "10.24.11.0/24",
        "UCX_NET_DEVICES": "enP7s7",
    }


def others(*texts: str) -> dict[str, Any]:
    return {"others": tuple(IPv4Interface(text) for text in texts)}


@pytest.mark.parametrize(
    ("half_0", "half_1", "within"),
    [
        ([], [], None),
        (["169.254.7.8/16"], [], "192.168.100.0/23"),
        (["10.0.0.1/24"], ["192.168.102.9/24"], "192.168.100.0/23"),
        # In the subnet that is used, either address will do.
        (["192.168.100.99/24"], [], None),
    ],
)
def test_of_several_addresses_nccl_is_told_where_to_look(half_0, half_1, within):
    nodes = [
        edited(facts, rocep1s0f0=others(*half_0), roceP2p1s0f0=others(*half_1)) for facts in samples.facts(2)
    ]
    found = plan(nodes)
    assert fabric.environment(found, 0, {}).get("NCCL_IB_ADDR_RANGE") == within
    assert found.warnings == ()


def test_addresses_that_no_range_tells_apart_are_a_warning():
    """Half 1 has a second address in the subnet of half 0, which has to be in the range."""
    head, worker = samples.facts(2)
    found = plan([edited(head, roceP2p1s0f0=others("192.168.100.50/24")), worker])
    assert "NCCL_IB_ADDR_RANGE" not in fabric.environment(found, 0, {})
    [warning] = found.warnings
    assert "enP2p1s0f0np0 has 192.168.100.50/24 beside 192.168.101.11/24" in warning


def test_no_index_of_a_gid_is_in_any_environment():
    for count in (1, 2, 3, 8):
        found = plan(samples.facts(count))
        for rank in range(count):
            assert "NCCL_IB_GID_INDEX" not in fabric.environment(found, rank, {})


def test_ucx_gets_an_interface_and_never_an_rdma_device():
    for count in (2, 3, 8):
        nodes = samples.facts(count)
        found = plan(nodes)
        for rank, facts in enumerate(nodes):
            mine = fabric.environment(found, rank, {})["UCX_NET_DEVICES"]
            assert mine == found.ranks[rank].interface
            assert mine in facts.interfaces


def test_the_users_variables_win():
    found = plan(samples.facts(2))
    mine = fabric.environment(found, 0, {"NCCL_IB_HCA": "mlx5", "NCCL_DEBUG": "WARN", "UCX_TLS": "tcp"})
    assert (mine["NCCL_IB_HCA"], mine["NCCL_DEBUG"], mine["UCX_TLS"]) == ("mlx5", "WARN", "tcp")
    assert mine["NCCL_SOCKET_IFNAME"] == "=enp1s0f0np0"


def test_what_the_user_replaces_is_told():
    found = plan(samples.facts(2))
    mine = {"NCCL_IB_HCA": "mlx5", "NCCL_DEBUG": "INFO", "UCX_TLS": "tcp"}
    assert fabric.overridden(found, mine) == ("NCCL_IB_HCA=mlx5 instead of =rocep1s0f0:1,roceP2p1s0f0:1",)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "IB"),
        ({"NCCL_IB_DISABLE": "1"}, "Socket"),
        ({"NCCL_NET": "Socket"}, "Socket"),
        ({"NCCL_IB_DISABLE": "0"}, "IB"),
        ({"NCCL_NET": "IB"}, "IB"),
    ],
)
def test_expected_transport(overrides, expected):
    assert fabric.expected_transport(plan(samples.facts(2)), overrides) == expected


def test_one_node_reports_no_transport_whatever_the_user_sets():
    assert fabric.expected_transport(plan(samples.facts(1)), {"NCCL_NET": "Socket"}) == "none"
