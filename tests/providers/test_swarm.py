"""The Swarm's provider against engines in memory: made, adopted, changed, found changed, undone."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import NodeError, NotReady, Unreachable
from dynamic_providers import base
from dynamic_providers.swarm import SwarmProvider
from remote import (
    fabric_addresses,
    gpu_clock,
    gpu_runtime,
    rank_access,
    services,
    ssh_client,
    swarm,
    swarm_nodes,
    weights,
)
from tests import samples
from tests.providers.fake_swarm import Engines, refused

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@pytest.fixture
def world(monkeypatch):
    made = Engines(A, B, C)
    monkeypatch.setattr(swarm_nodes, "connect", made.dial)
    monkeypatch.setattr(services, "connect", made.dial)
    monkeypatch.setattr(swarm, "RESOURCE_DEADLINE_S", 0)
    monkeypatch.setattr(base, "_LISTED", {"hosts": {A, B, C}, "all": {A, B, C}})
    for module, name in (
        (rank_access, "revoke"),
        (weights, "forget"),
        (fabric_addresses, "remove"),
        (gpu_clock, "give_back"),
        (gpu_runtime, "give_back"),
    ):

        def undo(props, *_more, name=f"{module.__name__}.{name}", **_options):
            [login] = props.get("connections") or [props["connection"]]
            if login["host"] in made.unreachable:
                raise made.unreachable[login["host"]]
            made.undone.append((login["host"], props["stack"], name))
            return {}

        monkeypatch.setattr(module, name, undo)

    def client(props, _action):
        if props["connection"]["host"] in made.unreachable:
            raise made.unreachable[props["connection"]["host"]]
        made.clients.discard(props["connection"]["host"])

    made.clients = set()
    monkeypatch.setattr(ssh_client, "run", client)
    return made


def props(*hosts: str, stack: str = "dgx") -> dict[str, Any]:
    connection = samples.connections(1)[0].as_props()
    nodes = [
        {"name": h, "address": h, "gpu": f"GPU-{h}", "connection": {**connection, "host": h}} for h in hosts
    ]
    return {"stack": stack, "nodes": nodes}


def create(*hosts: str) -> dict[str, Any]:
    outs = SwarmProvider().create(props(*hosts)).outs
    assert outs is not None
    return outs


def update(olds: dict[str, Any], *hosts: str) -> dict[str, Any]:
    outs = SwarmProvider().update("id", olds, props(*hosts)).outs
    assert outs is not None
    return outs


def read(state: dict[str, Any]) -> list[str]:
    inputs = SwarmProvider().read("id", state).inputs
    return [node["name"] for node in inputs["nodes"]]


def made_by_hand(world: Engines, *hosts: str) -> None:
    world[hosts[0]].init_swarm(hosts[0], hosts[0], {})
    for host in hosts[1:]:
        token = world[hosts[0]].inspect_swarm()["JoinTokens"]["Worker"]
        world[host].join_swarm([f"{hosts[0]}:2377"], token, host, host)


def labels(rank: int) -> dict[str, str]:
    return {"trtspark.stack": "dgx", "trtspark.rank": str(rank)}


def test_made_from_nothing(world):
    outs = create(A, B)
    assert (outs["made"], outs["joined"]) == (True, [B])
    assert [world[host].labels() for host in (A, B)] == [labels(0), labels(1)]
    assert outs["swarmId"] == world[A].inspect_swarm()["ID"]


def test_adopted_with_labels_only(world):
    made_by_hand(world, A, B)
    world[B].labels()["zone"] = "rack-1"
    outs = create(A, B)
    assert (outs["made"], outs["joined"]) == (False, [])
    assert world[B].labels() == {"zone": "rack-1", **labels(1)}


def test_a_second_create_after_an_interruption_ends_the_same(world):
    create(A, B)
    again = create(A, B)
    assert [world[host].labels() for host in (A, B)] == [labels(0), labels(1)]
    assert list(again["nodeIds"]) == [A, B]
    assert (again["made"], again["joined"]) == (True, [B])  # so that destroy ends it


def test_a_worker_whose_swarm_was_ended_while_it_had_no_power_is_taken_in_again(world):
    create(A, B)
    world[A].leave_swarm(force=True)
    outs = create(A, B)
    assert world[B].swarm is world[A].swarm
    assert world[B].labels() == labels(1)
    assert outs["joined"] == [B]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_worker_that_was_forgotten_is_taken_in_again(world, restarted):
    """While it had no network, or no power."""
    outs = create(A, B)
    world[A].remove_node(outs["nodeIds"][B], force=True)
    world[B].restarted = restarted
    outs = create(A, B)
    assert world[B].labels() == labels(1)
    assert outs["nodeIds"][B] in world[A].managed().nodes


def test_a_worker_that_has_just_started_is_waited_for(world):
    outs = create(A, B)
    world[B].restarted, world[B].pending = True, 4
    assert update(outs, A, B)["nodeIds"] == outs["nodeIds"]


def test_a_member_of_another_swarm_is_refused_and_left_there(world):
    made_by_hand(world, B, C)
    with pytest.raises(NodeError, match="belongs to another Swarm"):
        create(A, C)
    assert world[A].swarm is None
    assert world[C].swarm is world[B].swarm


def test_a_gpu_that_is_not_offered_is_named(world):
    world[B].gpu = "GPU-of-somebody-else"
    with pytest.raises(NotReady, match=rf"^{B}: waited .* GPU"):
        create(A, B)


def test_a_join_that_fails_says_which_ports(world, monkeypatch):
    def fail(**_: Any) -> None:
        raise refused(500, "rpc error: context deadline exceeded")

    monkeypatch.setattr(world[B], "join_swarm", fail)
    with pytest.raises(NodeError, match=r"context deadline exceeded.*2377/tcp"):
        create(A, B)


def test_a_label_written_while_the_node_changes_is_tried_again(world, monkeypatch):
    made_by_hand(world, A)
    whole, tries = world[A].update_node, []

    def first_time_late(*args: Any, **kwargs: Any) -> None:
        tries.append(args)
        if len(tries) == 1:
            raise refused(500, "rpc error: update out of sequence")
        whole(*args, **kwargs)

    monkeypatch.setattr(world[A], "update_node", first_time_late)
    create(A)
    assert labels(0).items() <= world[A].labels().items()


def test_how_we_get_there_is_no_change():
    olds, news = props(A, B), props(A, B)
    news["nodes"][1]["connection"]["port"] = 2222
    assert not SwarmProvider().diff("id", olds, news).changes


def test_what_is_a_change_and_what_a_replacement():
    assert SwarmProvider().diff("id", props(A), props(A, B)).changes
    found = SwarmProvider().diff("id", props(A), props(A, stack="other"))
    assert (found.changes, found.replaces) == (True, ["stack"])


def test_a_node_more(world):
    outs = update(create(A, B), A, B, C)
    assert (outs["made"], outs["joined"]) == (True, [B, C])
    assert world[C].labels() == labels(2)


def test_a_node_less_leaves_the_swarm_we_took_it_into(world):
    outs = update(create(A, B), A)
    assert outs["joined"] == []
    assert world[B].swarm is None
    assert [n["Description"]["Hostname"] for n in world[A].nodes()] == [A]


def test_a_node_less_after_the_head_left_by_hand(world):
    state = create(A, B)
    world[A].leave_swarm(force=True)
    assert read(update(state, A)) == [A]
    assert world[B].swarm is None


def test_a_node_less_stays_in_the_swarm_it_was_in_before_us(world):
    made_by_hand(world, A, B)
    update(create(A, B), A)
    assert world[B].swarm is world[A].swarm
    assert world[B].labels() == {}


def test_a_dead_node_less_is_forgotten(world, monkeypatch):
    monkeypatch.setitem(base._LISTED, "hosts", {A})
    state = create(A, B)
    world.unreachable[B] = Unreachable(B, "it does not answer.", "Is it on?")
    update(state, A)
    assert len(world[A].nodes()) == 1


def test_a_node_less_that_does_not_answer_and_is_listed_is_not_left_in_the_swarm_unsaid(world, monkeypatch):
    monkeypatch.setitem(base._LISTED, "hosts", {A, B})
    state = create(A, B)
    world.unreachable[B] = Unreachable(B, "it does not answer.", "Is it on?")
    with pytest.raises(Unreachable, match="Take it out of nodes"):
        SwarmProvider().delete("id", state)
    del world.unreachable[B]
    SwarmProvider().delete("id", state)
    assert [world[host].swarm for host in (A, B)] == [None, None]


def test_a_node_more_that_was_taken_in_by_an_update_that_failed_is_let_go(world, monkeypatch):
    """What the update left in Pulumi's state is what `kept_on_failure` was given."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(base, "_report_incomplete", lambda _id, outs, _reason: kept.update(outs))
    state = create(A, B)
    with monkeypatch.context() as broken:
        broken.setattr(swarm, "_wait_for_gpus", lambda *_: (_ for _ in ()).throw(NotReady("no GPU")))
        with pytest.raises(NotReady):
            update(state, A, B, C)
    assert world[C].swarm is world[A].swarm
    SwarmProvider().delete("id", kept)
    assert [world[host].swarm for host in (A, B, C)] == [None] * 3


def test_all_as_it_should_be_reads_the_same(world):
    state = create(A, B)
    assert read(state) == [A, B]
    assert not SwarmProvider().diff("id", SwarmProvider().read("id", state).outs, props(A, B)).changes


def drift(kind: str, world: Engines) -> None:
    if kind == "left":
        world[B].leave_swarm(force=True)
    elif kind == "label":
        del world[B].labels()["trtspark.rank"]
    else:
        described = world[B].swarm.nodes[world[B].node_id]["Description"]
        described["Resources"]["GenericResources"] = []


@pytest.mark.parametrize("kind", ["left", "label", "gpu"])
def test_a_node_that_drifted_is_missing(world, kind):
    state = create(A, B)
    drift(kind, world)
    assert read(state) == [A]


@pytest.mark.parametrize("kind", ["left", "label"])
def test_drift_is_mended_by_an_update(world, kind):
    state = create(A, B)
    drift(kind, world)
    found = SwarmProvider().read("id", state).outs
    assert SwarmProvider().diff("id", found, props(A, B)).changes
    assert read(update(found, A, B)) == [A, B]


def test_a_node_that_left_is_missed_before_its_manager_knows(world):
    state = create(A, B)
    world[B].leave_swarm(force=True)
    world[A].managed().nodes[state["nodeIds"][B]]["Status"]["State"] = "ready"
    assert read(state) == [A]


def test_a_node_that_left_is_taken_in_as_one_node_not_two(world):
    state = create(A, B)
    world[B].leave_swarm(force=True)
    update(state, A, B)
    assert {node["ID"] for node in world[A].nodes()} == {world[A].node_id, world[B].node_id}


def test_a_swarm_that_is_gone_reads_as_no_nodes_and_is_made_again(world):
    state = create(A, B)
    for host in (B, A):
        world[host].leave_swarm(force=True)
    found = SwarmProvider().read("id", state).outs
    assert found["nodes"] == []
    assert read(update(found, A, B)) == [A, B]


def test_the_bridge_that_docker_makes_for_a_swarm_goes_with_it_where_there_was_none(world):
    world[B].bridges.add("docker_gwbridge")  # from a Swarm of before
    world[A].bridge_in_use = 2
    outs = create(A, B, C)
    assert outs["bare"] == [A, C]
    outs = update(outs, A, B)
    assert (world[C].bridges, outs["bare"]) == (set(), [A])
    SwarmProvider().delete("id", outs)
    assert [world[host].bridges for host in (A, B)] == [set(), {"docker_gwbridge"}]


def test_a_bridge_that_somebody_uses_stays(world, monkeypatch):
    monkeypatch.setattr(swarm_nodes, "BRIDGE_DEADLINE_S", 0)
    world[A].bridge_in_use = 10**6
    SwarmProvider().delete("id", create(A))
    assert world[A].bridges == {"docker_gwbridge"}


def test_deleting_what_we_made_leaves_nothing(world):
    SwarmProvider().delete("id", create(A, B))
    assert [world[host].swarm for host in (A, B)] == [None, None]


def test_deleting_what_we_adopted_takes_our_labels_off_and_no_more(world):
    made_by_hand(world, A, B)
    world[B].labels()["zone"] = "rack-1"
    SwarmProvider().delete("id", create(A, B))
    assert world[A].swarm is world[B].swarm is not None
    assert [world[host].labels() for host in (A, B)] == [{}, {"zone": "rack-1"}]


def test_deleting_from_an_adopted_swarm_takes_out_the_node_we_joined(world):
    made_by_hand(world, A)
    SwarmProvider().delete("id", create(A, B))
    assert world[B].swarm is None
    assert len(world[A].nodes()) == 1


def test_a_lost_state_forgets_neither_the_bridges_nor_the_worker_that_joined(world):
    create(A, B)
    adopted = create(A, B)
    assert (adopted["joined"], adopted["bare"]) == ([B], [A, B])
    SwarmProvider().delete("id", adopted)
    assert [world[host].swarm for host in (A, B)] == [None, None]
    assert not world[A].bridges | world[B].bridges


def test_a_lost_state_forgets_no_worker_that_joined_a_swarm_from_before_us(world):
    made_by_hand(world, A)
    create(A, B)
    adopted = create(A, B)
    assert (adopted["made"], adopted["joined"], adopted["bare"]) == (False, [B], [B])
    SwarmProvider().delete("id", adopted)
    assert world[B].swarm is None
    assert not world[B].bridges
    assert world[A].labels() == {}
    assert world[A].bridges


@pytest.mark.parametrize("there_before", [False, True])
def test_a_create_that_failed_half_way_is_undone(world, monkeypatch, there_before):
    """What it left in Pulumi's state is what `kept_on_failure` was given."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(base, "_report_incomplete", lambda _id, outs, _reason: kept.update(outs))
    if there_before:
        made_by_hand(world, A)
    with monkeypatch.context() as broken:
        broken.setattr(swarm, "_wait_for_gpus", lambda *_: (_ for _ in ()).throw(NotReady("no GPU")))
        with pytest.raises(NotReady):
            create(A, B)
    assert SwarmProvider().diff("swarm", kept, props(A, B)).changes
    SwarmProvider().delete("swarm", kept)
    assert world[B].swarm is None
    assert (world[A].swarm is not None) is there_before
    assert world[A].bridges == ({"docker_gwbridge"} if there_before else set())


def test_a_worker_that_moved_to_another_swarm_is_left_there(world):
    outs = create(A, B)
    world[B].leave_swarm(force=True)
    made_by_hand(world, C)
    token = world[C].inspect_swarm()["JoinTokens"]["Worker"]
    world[B].join_swarm([f"{C}:2377"], token, B, B)
    SwarmProvider().delete("id", outs)
    assert world[B].swarm is world[C].swarm
    assert world[A].swarm is None


def test_destroy_after_the_head_left_by_hand_takes_the_workers_out_too(world):
    outs = create(A, B)
    world[A].leave_swarm(force=True)
    SwarmProvider().delete("id", outs)
    assert [world[host].swarm for host in (A, B)] == [None, None]
    assert not world[A].bridges | world[B].bridges


def test_destroy_after_the_head_joined_another_swarm_leaves_it_there(world):
    outs = create(A, B)
    world[A].leave_swarm(force=True)
    made_by_hand(world, C)
    token = world[C].inspect_swarm()["JoinTokens"]["Worker"]
    world[A].join_swarm([f"{C}:2377"], token, A, A)
    SwarmProvider().delete("id", outs)
    assert world[A].swarm is world[C].swarm
    assert world[A].bridges
    assert world[B].swarm is None


def test_a_stack_that_takes_machines_over_ends_what_the_other_ran_and_undoes_all(world):
    create(A, B)
    managed = world[A].managed()
    for name, stack in (("trtspark-dgx-rank-0", "dgx"), ("registry", "")):
        spec = {"Name": name, "Labels": {"trtspark.stack": stack} if stack else {}}
        managed.services[name] = {"ID": name, "Version": {"Index": 1}, "Spec": spec}
    with pytest.raises(NodeError, match="takeOver dgx"):
        SwarmProvider().create(props(A, B, stack="two"))
    outs = SwarmProvider().create({**props(A, B, stack="two"), "takeOver": "dgx"}).outs
    assert list(managed.services) == ["registry"]
    assert world[B].labels()["trtspark.stack"] == "two"
    managed.services.clear()
    SwarmProvider().delete("id", outs)
    assert [world[host].swarm for host in (A, B)] == [None, None]
    assert not world[A].bridges | world[B].bridges


def test_somebody_elses_service_keeps_the_swarm_we_made(world):
    state = create(A, B)
    world[A].swarm.services["web"] = {"ID": "s1", "Spec": {"Name": "web", "Labels": {}}}
    SwarmProvider().delete("id", state)
    assert world[A].swarm is world[B].swarm is not None
    assert [world[host].labels() for host in (A, B)] == [{}, {}]


def test_deleting_twice_is_no_error(world):
    state = create(A, B)
    SwarmProvider().delete("id", state)
    SwarmProvider().delete("id", state)
    assert world[A].swarm is None


def test_deleting_without_the_manager_is_an_error_that_says_so(world):
    state = create(A, B)
    world.unreachable[A] = Unreachable(A, "it does not answer.", "Is it on?")
    with pytest.raises(NodeError, match="pulumi state delete"):
        SwarmProvider().delete("id", state)
    assert world[B].swarm is not None


def test_deleting_after_a_refresh_that_found_nothing(world):
    state = create(A, B)
    for host in (B, A):
        world[host].leave_swarm(force=True)
    found = SwarmProvider().read("id", state).outs
    SwarmProvider().delete("id", found)
    assert world[A].swarm is None


def test_deleting_after_a_refresh_that_missed_the_heads_label_still_undoes_all(world):
    state = create(A, B)
    world[A].labels().clear()
    found = SwarmProvider().read("id", state).outs
    SwarmProvider().delete("id", found)
    assert [world[host].swarm for host in (A, B)] == [None, None]


def test_a_second_refresh_finds_what_came_back(world):
    state = create(A, B)
    world[A].labels().clear()
    found = SwarmProvider().read("id", state).outs
    world[A].labels().update(labels(0))
    assert read(found) == [A, B]


# --- certificates that ran out while the machines were off


def test_an_expired_worker_that_we_took_in_joins_again(world):
    state = create(A, B)
    old = world[B].node_id
    world[B].expired = True
    state = update(state, A, B)
    assert read(state) == [A, B]
    assert old not in {node["ID"] for node in world[A].nodes()}


def test_an_expired_manager_is_left_with_the_way_out_though_it_is_ours(world):
    """What others have in it cannot be seen."""
    state = create(A, B)
    world[A].expired = world[B].expired = True
    with pytest.raises(NodeError, match=r"pulumi up --refresh"):
        update(state, A, B)
    assert world[A].expired
    world[A].leave_swarm(force=True)
    assert read(update(state, A, B)) == [A, B]


def test_an_expired_worker_that_we_did_not_take_in_is_left_with_the_way_out(world):
    made_by_hand(world, A, B)
    state = create(A, B)
    world[B].expired = True
    with pytest.raises(NodeError, match="docker swarm leave --force"):
        update(state, A, B)


@pytest.mark.parametrize("key", ["expired", "outside"])
def test_what_the_look_found_is_a_change(key):
    """A certificate that ran out, a node that left; the next look finds it mended, which is none."""
    state = {**props(A, B), key: [A]}
    assert not SwarmProvider().diff("id", state, props(A, B)).changes
    assert SwarmProvider().diff("id", props(A, B), state).changes


# --- machines that were left out without anybody being told


def lost_and_fewer(world: Engines, *hosts: str) -> dict[str, Any]:
    """A state that is lost, and fewer machines at once: nothing but the Swarm knows of C."""
    create(A, B, C)
    world[C].running["rank"] = {"trtspark.stack": "dgx", "trtspark.rank": "2"}
    world[C].running["theirs"] = {"com.example": "theirs"}
    world[C].volumes = {"trtspark-dgx-kernels": {"trtspark.stack": "dgx"}, "theirs": {}}
    for rank in (1, 2):
        spec = {"Name": f"rank-{rank}", "Labels": labels(rank)}
        world[A].managed().services[spec["Name"]] = {
            "ID": spec["Name"],
            "Version": {"Index": 1},
            "Spec": spec,
        }
    return create(*hosts)


UNDONE = {
    "gpu_clock.give_back",
    "rank_access.revoke",
    "weights.forget",
    "fabric_addresses.remove",
    "gpu_runtime.give_back",
}


def undone(world: Engines, host: str) -> set[str]:
    return {what.removeprefix("remote.") for there, _stack, what in world.undone if there == host}


def test_a_lost_state_and_fewer_machines_gives_back_the_one_that_was_left_out(world):
    outs = lost_and_fewer(world, A, B)
    assert world[C].swarm is None
    assert not world[C].bridges
    assert list(world[C].running) == ["theirs"]
    assert list(world[C].volumes) == ["theirs"]
    assert undone(world, C) == UNDONE
    assert list(world[A].managed().services) == ["rank-1"]
    assert {node["ID"] for node in world[A].nodes()} == {world[A].node_id, world[B].node_id}
    assert undone(world, B) == set()
    assert create(A, B) == outs  # and is forgotten


def test_it_stays_where_it_was_before_us_without_our_labels(world):
    made_by_hand(world, A, B, C)
    lost_and_fewer(world, A, B)
    assert world[C].swarm is world[A].swarm
    assert world[C].labels() == {}
    assert undone(world, C) == UNDONE


def test_one_that_is_in_another_swarm_by_now_stays_there(world):
    create(A, B, C)
    world[C].leave_swarm(force=True)
    made_by_hand(world, C)
    create(A, B)
    assert world[C].swarm is not None
    assert undone(world, C) == UNDONE


def test_one_that_cannot_be_reached_is_told_with_commands_and_destroy_tries_again(world, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(base, "_speaker", lambda *_a, **_k: warned.append)
    monkeypatch.setattr(base, "_LISTED", {"hosts": {A, B}, "all": {A, B}})
    world.unreachable[C] = Unreachable(C, "it does not answer.", "Is it on?")
    with monkeypatch.context() as away:
        away.delitem(world.unreachable, C)
        create(A, B, C)
    outs = create(A, B)
    [text] = warned
    assert C in text
    assert "docker swarm leave --force" in text
    assert "label=trtspark.stack=dgx" in text
    assert list(outs["strays"]) == [C]
    del world.unreachable[C]
    SwarmProvider().delete("id", outs)
    assert [world[host].swarm for host in (A, B, C)] == [None] * 3
    assert undone(world, C) == UNDONE


def test_one_that_came_back_is_given_back_after_the_head_left_by_hand_too(world, monkeypatch):
    monkeypatch.setattr(base, "_LISTED", {"hosts": {A, B}, "all": {A, B}})
    create(A, B, C)
    world.unreachable[C] = Unreachable(C, "it does not answer.", "Is it on?")
    outs = create(A, B)
    del world.unreachable[C]
    world[A].leave_swarm(force=True)
    SwarmProvider().delete("id", outs)
    assert world[C].swarm is None
    assert undone(world, C) == UNDONE


def test_destroy_clears_what_a_killed_create_has_started(world):
    made_by_hand(world, A, B)
    outs = create(A, B)
    spec = {"Name": "rank-1", "Labels": labels(1)}
    world[A].managed().services["rank-1"] = {"ID": "rank-1", "Version": {"Index": 1}, "Spec": spec}
    world[B].running["rank"] = labels(1)
    SwarmProvider().delete("id", outs)
    assert not world[A].managed().services
    assert not world[B].running
    assert undone(world, B) == {"rank_access.revoke"}


def test_a_ledger_of_an_earlier_version_names_the_machine(world, monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(base, "_speaker", lambda *_a, **_k: warned.append)
    monkeypatch.setattr(base, "_LISTED", {"hosts": {A}, "all": {A}})
    create(A, B)
    managed = world[A].managed()
    managed.labels["trtspark.ledger"] = f'{{"joined": ["{B}"], "bare": []}}'
    create(A)
    assert [B in text for text in warned] == [True]


def test_destroy_takes_the_ssh_client_that_only_a_lost_state_knew(world):
    """One machine needs none; the pair of before brought it along."""
    outs = create(A)
    world.clients.add(A)
    SwarmProvider().delete("id", outs)
    assert not world.clients
