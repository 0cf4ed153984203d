"""Swarm's specs and the nodes' containers against what the last `up` gave: who differs, and in what."""

from __future__ import annotations

import copy

import pytest

from cluster.service_spec import Rank, mark, marked, rank_service
from cluster.spec_drift import Given, differences, given, of_state
from tests.unit.test_service_spec import inspected, spec

IMAGE = "release@sha256:1"
TYPE = "pulumi-python:dynamic/trtspark:SwarmService"


def state(wanted, **more):
    """A service's resource in an exported stack, with numbers as Pulumi writes some of them."""
    wanted = copy.deepcopy(wanted)
    policy = wanted["TaskTemplate"]["RestartPolicy"]
    policy["Delay"] = float(policy["Delay"])
    return {"type": TYPE, "outputs": {"spec": wanted, "image": IMAGE, "given": given(spec(), IMAGE), **more}}


def swarms(wanted):
    """As the Swarm shows it: with its defaults, ids, and the image."""
    actual = inspected(wanted)
    actual["TaskTemplate"]["ContainerSpec"]["Image"] = IMAGE
    return actual


RANK = int(spec()["Labels"]["trtspark.rank"])
MARK = mark(spec())


def found(resource, actual, running=MARK):
    there = {} if actual is None else {RANK: actual}
    return differences(of_state([resource]), there, {} if running is None else {RANK: running})


def edited():
    actual = swarms(spec())
    actual["TaskTemplate"]["ContainerSpec"]["Env"].append("X=1")
    return actual


def test_what_up_has_given_and_swarm_dressed_up_is_no_drift():
    assert found(state(spec()), swarms(spec())) == []
    assert found(state(spec()), swarms(spec()), running=None) == []


def test_an_edit_by_hand_keeps_the_label_and_is_seen_all_the_same():
    [line] = found(state(spec()), edited())
    assert line.startswith(f"rank {RANK} runs another spec than the last `up` gave it (Env): ")
    assert "`pulumi up --refresh` repairs it" in line


def test_a_refresh_that_wrote_the_edit_into_the_state_does_not_hide_it():
    after = copy.deepcopy(spec())
    after["TaskTemplate"]["ContainerSpec"]["Env"].append("X=1")
    assert found(state(after), edited())
    assert found(state(after), swarms(spec())) == []  # and a repair behind the state's back is none


def test_an_older_spec_that_came_back_is_seen_after_a_refresh_too():
    older = marked({**spec(args=["--older"]), "Name": spec()["Name"]})
    for resource in (state(spec()), state(older)):
        assert found(resource, swarms(older), running=mark(older))


def test_a_container_that_was_not_replaced():
    [line] = found(state(spec()), swarms(spec()), running="0123456789")
    assert f"rank {RANK} runs another spec" in line


def test_another_image():
    actual = swarms(spec())
    actual["TaskTemplate"]["ContainerSpec"]["Image"] = "release@sha256:2"
    [line] = found(state(spec()), actual)
    assert "(Image)" in line


def test_a_service_that_is_gone():
    [line] = found(state(spec()), None, running=None)
    assert f"rank {RANK} has no service" in line


@pytest.mark.parametrize("value", [None, {}])
def test_labels_taken_away_by_hand(value):
    actual = swarms(spec())
    actual["TaskTemplate"]["ContainerSpec"]["Labels"] = value
    assert found(state(spec()), actual, running="")


def test_the_state_of_an_older_program_has_no_mark_of_its_own():
    resource = state(spec())
    del resource["outputs"]["given"]
    assert found(resource, swarms(spec())) == []
    assert found(resource, edited())


def test_of_a_state_only_the_services_that_are_there():
    worker = rank_service(Rank("dgx", RANK + 1, "/hf", {}, ["sleep"]))
    others = [
        {"type": "pulumi:pulumi:Stack", "outputs": {"spec": 1}},
        {**state(spec()), "delete": True},
        {"type": TYPE},
        {"type": TYPE, "outputs": {"spec": worker, "image": IMAGE}},
    ]
    assert of_state([*others, state(spec())]) == [
        Given(RANK, spec(), MARK, IMAGE),
        Given(RANK + 1, worker, mark(worker), IMAGE),
    ]
