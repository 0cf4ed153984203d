"""`fabric: configure`: which addresses, on every shape; what is kept, and what is refused."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import fabric, netplan
from cluster.errors import NotPrepared, PlanError
from cluster.fabric_addresses import Choice, applied, choose, taken_back, undecided
from cluster.fabric_files import Seen, seen
from cluster.facts import Facts
from remote import fabric_addresses as remote_addresses
from tests import samples, sparks

STACK = "dgx"


def decide(nodes, looks=None, wanted=None) -> Choice:
    given_ = [[IPv4Address(a) for a in one] for one in wanted or [[] for _ in nodes]]
    return choose(STACK, nodes, looks or sparks.looks(nodes), given_)


def texts(choice: Choice) -> list[dict[str, str]]:
    return [{n: str(a) for n, a in part.addresses.items()} for part in choice.nodes]


def after(nodes, choice: Choice, looks) -> tuple[list[Facts], list[Seen]]:
    """The machines once the choice is applied, as the next look finds them."""
    facts = [applied(one, part.addresses) for one, part in zip(nodes, choice.nodes, strict=True)]
    return facts, [
        dataclasses.replace(look, stack=STACK, addresses=part.addresses, file=part.file, merged=part.file)
        if part.addresses
        else look
        for look, part in zip(looks, choice.nodes, strict=True)
    ]


# --- shapes ------------------------------------------------------------------------------------------


def test_a_pair_gets_two_subnets_and_the_management_numbers():
    found = decide([sparks.spark(0, [0]), sparks.spark(1, [0])])
    assert texts(found) == [
        {"enp1s0f0np0": "172.16.100.11/24", "enP2p1s0f0np0": "172.16.101.11/24"},
        {"enp1s0f0np0": "172.16.100.12/24", "enP2p1s0f0np0": "172.16.101.12/24"},
    ]
    assert "enp1s0f0np0 172.16.100.11/24" in found.notes[0]


def test_a_pair_with_the_cable_in_different_ports():
    found = texts(decide([sparks.spark(0, [0]), sparks.spark(1, [1])]))
    assert found[1] == {"enp1s0f1np1": "172.16.100.12/24", "enP2p1s0f1np1": "172.16.101.12/24"}


@pytest.mark.parametrize("crossed", [False, True])
def test_two_cables_between_two_nodes_are_four_subnets_as_they_are_plugged(crossed):
    nodes = [sparks.spark(0, [0, 1]), sparks.spark(1, [0, 1])]
    cables = [((0, 0), (1, 1 if crossed else 0)), ((0, 1), (1, 0 if crossed else 1))]
    head, worker = texts(decide(nodes, sparks.looks(nodes, cables)))
    assert len({IPv4Interface(a).network for a in head.values()}) == 4
    other = "enp1s0f1np1" if crossed else "enp1s0f0np0"
    assert IPv4Interface(head["enp1s0f0np0"]).network == IPv4Interface(worker[other]).network


def test_a_ring_is_six_subnets_each_shared_by_the_two_ends_of_a_cable():
    nodes = [sparks.spark(i, [0, 1]) for i in range(3)]
    found = decide(nodes, sparks.looks(nodes, sparks.RING))
    networks = [{n: a.network for n, a in part.addresses.items()} for part in found.nodes]
    assert len({network for one in networks for network in one.values()}) == 6
    for (a, cage_a), (b, cage_b) in sparks.RING:
        for half in (0, 1):
            ends = sparks.NAMES[(cage_a, half)][1], sparks.NAMES[(cage_b, half)][1]
            assert networks[a][ends[0]] == networks[b][ends[1]]


@pytest.mark.parametrize("count", [3, 5, 8])
def test_behind_a_switch_all_nodes_are_in_the_same_two_subnets(count):
    """One cable each, in whatever port: with three nodes and one port each it can only be a switch."""
    found = decide([sparks.spark(i, [i % 2]) for i in range(count)])
    networks = {frozenset(a.network for a in part.addresses.values()) for part in found.nodes}
    assert networks == {frozenset({IPv4Network("172.16.100.0/24"), IPv4Network("172.16.101.0/24")})}


def test_two_cables_of_every_node_in_one_switch_are_four_subnets():
    """One interface of a machine per subnet is the rule, so it takes four."""
    nodes = [sparks.spark(i, [0, 1]) for i in range(4)]
    everything = tuple((i, cage) for i in range(4) for cage in (0, 1))
    found = decide(nodes, sparks.looks(nodes, [everything]))
    networks = {frozenset(a.network for a in part.addresses.values()) for part in found.nodes}
    assert len(networks) == 1
    assert len(networks.pop()) == 4


def test_one_node_needs_no_addresses():
    assert texts(decide([sparks.spark(0, [0])])) == [{}]


def test_neighbours_are_looked_for_only_where_there_is_a_choice():
    assert undecided(sparks.spark(0, [0])) == []
    assert len(undecided(sparks.spark(0, [0, 1]))) == 4
    whole = {netdev: f"192.168.{i}.1/24" for i, (_, netdev) in enumerate(sparks.NAMES.values())}
    assert undecided(sparks.with_addresses(sparks.spark(0, [0, 1]), whole)) == []


# --- what cannot be told is refused ------------------------------------------------------------------


def test_two_cables_that_see_nobody_are_refused_with_what_was_seen():
    with pytest.raises(PlanError) as caught:
        decide([sparks.spark(0, [0, 1]), sparks.spark(1, [0, 1])])
    assert "no common cable or switch was found for spark-1 and spark-2" in str(caught.value)
    assert "spark-1 port 0 (no other node seen)" in str(caught.value)
    assert "nodes[].fabric" in str(caught.value)


def test_a_ring_of_four_has_no_way_across():
    nodes = [sparks.spark(i, [0, 1]) for i in range(4)]
    cables = [((i, 0), ((i + 1) % 4, 1)) for i in range(4)]
    with pytest.raises(PlanError, match="spark-1 and spark-3"):
        decide(nodes, sparks.looks(nodes, cables))


def test_no_cable_is_refused():
    with pytest.raises(NotPrepared, match=r"^spark-2: no RDMA device has a link\. Plug in"):
        decide([sparks.spark(0, [0]), sparks.spark(1, [])])


def test_a_device_of_an_unknown_port_is_refused():
    nodes = [sparks.spark(0, [0]), sparks.spark(1, [0])]
    odd = tuple(dataclasses.replace(hca, cage=None) for hca in nodes[1].hcas)
    with pytest.raises(NotPrepared, match="cannot be told which port"):
        decide([nodes[0], dataclasses.replace(nodes[1], hcas=odd)])


# --- subnets -----------------------------------------------------------------------------------------


def test_subnets_in_use_anywhere_are_left_alone():
    nodes = [sparks.spark(0, [0]), sparks.spark(1, [0])]
    nodes[0] = dataclasses.replace(
        nodes[0], routes=(IPv4Network("172.16.100.0/23"),), operator="172.16.102.9"
    )
    nodes[1] = dataclasses.replace(
        nodes[1],
        interfaces={**nodes[1].interfaces, "br0": (IPv4Interface("172.16.103.1/24"),)},
        daemon_json={"default-address-pools": [{"base": "172.16.104.0/24", "size": 28}]},
    )
    found = texts(decide(nodes))
    assert found[0] == {"enp1s0f0np0": "172.16.105.11/24", "enP2p1s0f0np0": "172.16.106.11/24"}


def test_where_the_first_pool_is_taken_the_second_is_used():
    nodes = [sparks.spark(0, [0]), sparks.spark(1, [0])]
    nodes[1] = dataclasses.replace(nodes[1], routes=(IPv4Network("172.16.0.0/12"), IPv4Network("0.0.0.0/0")))
    assert texts(decide(nodes))[0]["enp1s0f0np0"] == "192.168.100.11/24"


def test_where_everything_is_taken_the_user_chooses():
    nodes = [sparks.spark(0, [0]), sparks.spark(1, [0])]
    taken = (IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
    nodes[1] = dataclasses.replace(nodes[1], routes=taken)
    with pytest.raises(PlanError, match=r"nodes\[\]\.fabric"):
        decide(nodes)


def test_management_numbers_that_are_not_unique_are_not_used():
    nodes = [sparks.spark(0, [0], octet=20), sparks.spark(1, [0], octet=20)]
    nodes[1] = dataclasses.replace(nodes[1], address=IPv4Address("10.24.12.20"))
    assert [one["enp1s0f0np0"] for one in texts(decide(nodes))] == ["172.16.100.1/24", "172.16.100.2/24"]


# --- what works is kept ------------------------------------------------------------------------------


def no_sudo(nodes) -> list[Seen]:
    said = "sudo: a password is required"
    return [dataclasses.replace(look, merged="", problem=said) for look in sparks.looks(nodes)]


def pair(*addresses: dict[str, str]) -> list[Facts]:
    return [sparks.with_addresses(sparks.spark(i, [0]), one) for i, one in enumerate(addresses)]


OWN = [
    {"enp1s0f0np0": "192.168.100.11/24", "enP2p1s0f0np0": "192.168.101.11/24"},
    {"enp1s0f0np0": "192.168.100.12/24", "enP2p1s0f0np0": "192.168.101.12/24"},
]


@pytest.mark.parametrize(
    "addresses",
    [
        OWN,
        [
            {"enp1s0f0np0": "192.168.1.1/24", "enP2p1s0f0np0": "192.168.1.2/24"},
            {"enp1s0f0np0": "192.168.1.3/24", "enP2p1s0f0np0": "192.168.1.4/24"},
        ],
    ],
    ids=["two subnets", "one subnet"],
)
def test_a_working_configuration_is_kept_whoever_made_it(addresses):
    looks = [
        dataclasses.replace(look, problem="sudo: a password is required") for look in sparks.looks([0, 1])
    ]
    found = decide(pair(*addresses), looks)
    assert texts(found) == [{}, {}]
    assert found.notes == ("fabric: all nodes have working addresses; nothing is written.",)


def test_a_node_that_lacks_addresses_joins_the_others_subnets():
    assert texts(decide(pair(OWN[0], {}))) == [{}, OWN[1]]


def test_only_the_half_that_lacks_one_is_set():
    nodes = pair(OWN[0], {"enp1s0f0np0": "192.168.100.12/24"})
    assert texts(decide(nodes)) == [{}, {"enP2p1s0f0np0": "192.168.101.12/24"}]


def test_link_local_addresses_are_nobodys():
    nodes = pair({"enp1s0f0np0": "169.254.3.4/16", "enP2p1s0f0np0": "169.254.3.5/16"}, {})
    found = decide(nodes)
    assert texts(found)[0]["enp1s0f0np0"] == "172.16.100.11/24"


def test_addresses_from_dhcp_that_do_not_meet_are_set_anew():
    nodes = pair({"enp1s0f0np0": "10.9.0.5/24"}, {"enp1s0f0np0": "10.8.0.5/24"})
    looks = [dataclasses.replace(look, dynamic=frozenset({"enp1s0f0np0"})) for look in sparks.looks(nodes)]
    assert texts(decide(nodes, looks))[1]["enp1s0f0np0"] == "172.16.100.12/24"


def test_halves_in_different_subnets_are_the_owners_to_correct():
    nodes = pair({"enp1s0f0np0": "192.168.1.1/24"}, {"enp1s0f0np0": "192.168.2.1/24"})
    with pytest.raises(PlanError, match=r"spark-1 enp1s0f0np0 192\.168\.1\.1/24, spark-2"):
        decide(nodes)


def test_an_address_that_is_there_twice_is_refused():
    nodes = pair(OWN[0], OWN[0])
    with pytest.raises(PlanError, match=r"192\.168\.100\.11 is on spark-1 and on spark-2"):
        decide(nodes)


# --- nodes[].fabric ----------------------------------------------------------------------------------


def test_given_addresses_are_used_and_the_others_join_them():
    found = texts(decide(pair({}, {}), wanted=[["10.7.1.1", "10.7.2.1"], []]))
    assert found == [
        {"enp1s0f0np0": "10.7.1.1/24", "enP2p1s0f0np0": "10.7.2.1/24"},
        {"enp1s0f0np0": "10.7.1.12/24", "enP2p1s0f0np0": "10.7.2.12/24"},
    ]


def test_given_addresses_tell_a_ring_without_looking():
    nodes = [sparks.spark(i, [0, 1]) for i in range(3)]
    wanted = [
        ["192.168.0.1", "192.168.1.1", "192.168.2.1", "192.168.3.1"],
        ["192.168.4.1", "192.168.5.1", "192.168.0.2", "192.168.1.2"],
        ["192.168.2.2", "192.168.3.2", "192.168.4.2", "192.168.5.2"],
    ]
    found = decide(nodes, wanted=wanted)
    order = [netdev for _, netdev in sparks.NAMES.values()]
    assert [[str(part.addresses[n].ip) for n in order] for part in found.nodes] == wanted


def test_more_given_addresses_than_interfaces_are_refused():
    with pytest.raises(PlanError, match=r"spark-1: nodes\[\]\.fabric has 3 addresses for 2 interfaces"):
        decide(pair({}, {}), wanted=[["10.7.1.1", "10.7.2.1", "10.7.3.1"], []])


def test_a_given_address_takes_the_place_of_one_of_ours_and_the_other_half_keeps_its_own():
    nodes = pair({}, {})
    facts, looks = after(nodes, decide(nodes), sparks.looks(nodes))
    found = decide(facts, looks, wanted=[["172.16.100.200"], []])
    assert texts(found)[0] == {"enp1s0f0np0": "172.16.100.200/24", "enP2p1s0f0np0": "172.16.101.11/24"}
    again = decide(*after(facts, found, looks), wanted=[["172.16.100.200"], []])
    assert texts(again) == texts(found)


def test_a_given_address_that_works_already_is_kept():
    assert texts(decide(pair(*OWN), wanted=[["192.168.101.11"], []])) == [{}, {}]


# --- other people's files ----------------------------------------------------------------------------


def own_file(definition: str) -> str:
    return f"network:\n  version: 2\n  ethernets:\n{definition}"


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ("    enp1s0f0np0:\n      addresses: [192.168.5.5/24]\n", "192.168.5.5/24"),
        ("    cx7:\n      match: {name: 'enp1s0*'}\n      addresses: [192.168.5.5/24]\n", "192.168.5.5/24"),
        (
            "    cx7:\n      match: {macaddress: '3C:6D:66:00:00:00'}\n"
            "      addresses:\n        - 192.168.5.5/24: {label: x}\n",
            "192.168.5.5/24",
        ),
        (
            "    enp1s0f0np0: {}\n  bonds:\n    bond0:\n      interfaces: [enp1s0f0np0, enp1s0f1np1]\n",
            "bond bond0",
        ),
    ],
)
def test_an_interface_that_the_owner_configured_is_refused(definition, why):
    nodes = pair({}, {})
    looks = sparks.looks(nodes)
    looks[0] = dataclasses.replace(looks[0], merged=own_file(definition))
    with pytest.raises(NotPrepared) as caught:
        decide(nodes, looks)
    assert f"enp1s0f0np0 is configured by a netplan file of yours ({why}" in str(caught.value)
    assert "01-network-manager-all.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "definition",
    [
        "    enp1s0f0np0:\n      dhcp4: true\n",
        "    enp1s0f0np0:\n      link-local: [ipv4]\n",
        "    enp1s0f0np0:\n      addresses: [169.254.1.1/16]\n",
        "    NM-1:\n      match: {name: 'enp1s0f0np0'}\n      dhcp4: true\n",
        "    enP7s7:\n      addresses: [10.24.11.11/24]\n",
    ],
)
def test_what_a_spark_ships_with_is_not_the_owners_word(definition):
    nodes = pair({}, {})
    looks = sparks.looks(nodes)
    looks[0] = dataclasses.replace(looks[0], merged=own_file(definition))
    assert texts(decide(nodes, looks))[0]["enp1s0f0np0"] == "172.16.100.11/24"


def test_a_file_edited_and_not_applied_that_would_cut_the_management_off_is_refused():
    nodes = pair({}, {})
    looks = sparks.looks(nodes)
    looks[1] = dataclasses.replace(
        looks[1], merged=own_file("    enP7s7:\n      addresses: [10.24.99.12/24]\n")
    )
    with pytest.raises(NotPrepared, match=r"would take the address 10\.24\.11\.12 from enP7s7"):
        decide(nodes, looks)


def test_without_a_right_to_look_nothing_is_written():
    nodes = pair({}, {})
    looks = [
        dataclasses.replace(look, merged="", problem="sudo: a password is required")
        for look in sparks.looks(nodes)
    ]
    with pytest.raises(NotPrepared, match="a password is required"):
        decide(nodes, looks)


def test_a_file_of_our_name_that_we_did_not_write_is_left_alone():
    nodes = pair({}, {})
    looks = sparks.looks(nodes)
    looks[0] = dataclasses.replace(looks[0], file="network: {version: 2}\n")
    with pytest.raises(NotPrepared, match="has no record of writing it"):
        decide(nodes, looks)


def test_another_stacks_file_is_its_own():
    nodes = pair({}, {})
    looks = sparks.looks(nodes)
    looks[0] = dataclasses.replace(looks[0], stack="other", file="network: {version: 2}\n")
    with pytest.raises(NotPrepared, match="is stack other's"):
        decide(nodes, looks)
    assert texts(decide(pair(*OWN), [dataclasses.replace(one, stack="other") for one in looks])) == [{}, {}]


def test_the_addresses_of_a_stack_that_is_taken_over_are_ours(monkeypatch):
    """Written down so by the next `up`; from then on the other stack's destroy leaves them."""
    facts, looks = after(pair({}, {}), decide(pair({}, {})), sparks.looks(pair({}, {})))
    looks = [dataclasses.replace(one, stack="other") for one in looks]
    monkeypatch.setattr(remote_addresses, "_looks", lambda *_: looks)
    settings = samples.settings(2, fabric="configure", takeOver="other")
    _, choice = remote_addresses.settle(STACK, settings, samples.connections(2), facts)
    assert texts(choice) == texts(decide(pair({}, {})))


# --- the next time -----------------------------------------------------------------------------------


def test_the_plan_after_it_is_rdma_over_both_halves():
    nodes = [sparks.spark(0, [0]), sparks.spark(1, [1])]
    found = decide(nodes)
    facts, _ = after(nodes, found, sparks.looks(nodes))
    network = fabric.plan(facts, [[], []])
    assert network.transport == "IB"
    assert len(network.ranks[0].hcas) == 2
    environment = fabric.environment(network, 1, {})
    assert environment["NCCL_IB_ROCE_VERSION_NUM"] == "2"
    assert {hca.mtu for rank in network.ranks for hca in rank.hcas} == {netplan.MTU}


def test_a_file_or_an_address_that_is_gone_is_set_again_as_it_was():
    nodes = pair({}, {})
    first = decide(nodes)
    facts, looks = after(nodes, first, sparks.looks(nodes))
    lost = [facts[0], nodes[1]]
    gone = [looks[0], dataclasses.replace(looks[1], file="", merged=sparks.FRESH)]
    again = decide(lost, gone)
    assert texts(again) == texts(first)
    assert [part.repair for part in again.nodes] == ["", f"{netplan.FILE} was removed"]
    edited = [looks[0], dataclasses.replace(looks[1], file=looks[1].file.replace("9000", "1500"))]
    assert decide(facts, edited).nodes[1].repair == f"{netplan.FILE} was edited"
    assert decide(lost, looks).nodes[1].repair == "enp1s0f0np0 has lost 172.16.100.12/24"


def test_an_edited_address_in_our_file_is_not_taken_for_the_owners():
    nodes = pair({}, {})
    facts, looks = after(nodes, decide(nodes), sparks.looks(nodes))
    text = looks[1].file.replace("172.16.100.12", "172.16.100.77")
    looks[1] = dataclasses.replace(looks[1], file=text, merged=text)
    assert decide(facts, looks).nodes[1].repair == f"{netplan.FILE} was edited"


def test_an_address_of_the_owners_beside_ours_is_refused():
    nodes = pair({}, {})
    facts, looks = after(nodes, decide(nodes), sparks.looks(nodes))
    both = looks[1].file.replace("- 172.16.100.12/24", "- 172.16.100.12/24\n        - 10.1.1.1/24")
    looks[1] = dataclasses.replace(looks[1], merged=both)
    with pytest.raises(NotPrepared, match=r"10\.1\.1\.1/24"):
        decide(facts, looks)


def test_a_cable_pulled_for_a_while_changes_nothing():
    nodes = pair({}, {})
    first = decide(nodes)
    _, looks = after(nodes, first, sparks.looks(nodes))
    assert texts(decide([sparks.spark(0, []), sparks.spark(1, [])], looks)) == texts(first)


def test_a_cable_moved_to_the_other_port_moves_the_addresses():
    nodes = pair({}, {})
    facts, looks = after(nodes, decide(nodes), sparks.looks(nodes))
    moved = texts(decide([facts[0], sparks.spark(1, [1])], looks))
    assert moved[1] == {"enp1s0f1np1": "172.16.100.12/24", "enP2p1s0f1np1": "172.16.101.12/24"}


def test_back_to_detect_the_plan_is_without_them():
    nodes = pair({}, {})
    found = decide(nodes)
    facts, looks = after(nodes, found, sparks.looks(nodes))
    bare = [taken_back(one, look.addresses) for one, look in zip(facts, looks, strict=True)]
    assert fabric.plan(bare, [[], []]).transport == "Socket"
    assert all(hca.address is None for one in bare for hca in one.hcas)


def test_the_answer_of_the_node_is_read():
    document = {
        "waited": False,
        "record": {"stack": "dgx", "addresses": {"enp1s0f0np0": "172.16.100.11/24"}},
        "file": None,
        "netplan": {"rc": 1, "out": "", "err": "x\nsudo: a password is required\n"},
        "neighbours": {},
        "dynamic": ["enP7s7"],
    }
    found = seen(document)
    assert found.addresses == {"enp1s0f0np0": IPv4Interface("172.16.100.11/24")}
    assert (found.problem, found.file, found.dynamic) == ("sudo: a password is required", "", {"enP7s7"})


# --- any machines ------------------------------------------------------------------------------------


@st.composite
def machines(draw):
    """Nodes in any shape, some halves with addresses of their owner's, some networks in use."""
    shape = draw(st.sampled_from(["pair", "double", "ring", "switch", "switch of two ports"]))
    count = {"pair": 2, "double": 2, "ring": 3}.get(shape) or draw(st.integers(3, 8))
    octets = draw(st.lists(st.integers(0, 255), min_size=count, max_size=count))
    if shape in ("pair", "switch"):
        cages = [[draw(st.integers(0, 1))] for _ in range(count)]
    else:
        cages = [[0, 1] for _ in range(count)]
    nodes = [sparks.spark(i, cages[i], octets[i]) for i in range(count)]
    cables: list[tuple[tuple[int, int], ...]] = {
        "double": [((0, 0), (1, 1)), ((0, 1), (1, 0))],
        "ring": list(sparks.RING),
        "switch of two ports": [tuple((i, c) for i in range(count) for c in (0, 1))],
    }.get(shape, [])
    used = draw(st.lists(st.integers(0, 255), max_size=20))
    nodes[0] = dataclasses.replace(nodes[0], routes=tuple(IPv4Network(f"172.16.{n}.0/24") for n in used))
    if shape == "pair" and draw(st.booleans()):
        netdev = sparks.NAMES[(cages[1][0], 0)][1]
        nodes[1] = sparks.with_addresses(nodes[1], {netdev: "192.168.50.77/25"})
    return nodes, sparks.looks(nodes, cables)


@settings(deadline=None, max_examples=60)
@given(machines())
def test_planning_after_applying_gives_nothing(case):
    nodes, looks = case
    first = decide(nodes, looks)
    facts, found = after(nodes, first, looks)
    second = decide(facts, found)
    assert texts(second) == texts(first)
    assert not any(part.repair for part in second.nodes)
    # Whoever finds the same addresses without our record keeps them all.
    assert texts(decide(facts, looks)) == [{} for _ in nodes]


@settings(deadline=None, max_examples=60)
@given(machines())
def test_addresses_are_unique_free_and_one_per_subnet(case):
    nodes, looks = case
    facts, _ = after(nodes, decide(nodes, looks), looks)
    every = [hca.address for one in facts for hca in one.hcas if hca.active]
    assert None not in every
    assert len({address.ip for address in every}) == len(every)
    for one in facts:
        mine = [hca.address.network for hca in one.hcas if hca.active]
        assert len(set(mine)) == len(mine)
    for part, one in zip(decide(nodes, looks).nodes, nodes, strict=True):
        for address in part.addresses.values():
            assert not any(address.network.overlaps(route) for route in one.routes)
            assert address.is_private
