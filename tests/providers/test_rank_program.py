"""Rank 0's program in the Swarm: made, adopted, made again, and removed with what still uses it."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import NodeError
from cluster.service_spec import object_name
from dynamic_providers import base
from dynamic_providers.rank_program import RankProgramProvider
from remote import rank0, rank_program
from tests import samples
from tests.providers.fake_swarm import Engines

HEAD = "10.0.0.1"
NAME = object_name("dgx", "program", rank0.program())


@pytest.fixture
def world(monkeypatch):
    made = Engines(HEAD)
    made[HEAD].init_swarm(HEAD, HEAD, {})
    monkeypatch.setattr(rank_program, "connect", made.dial)
    base._HELD.clear()
    return made


def props(**changes: Any) -> dict[str, Any]:
    manager = {**samples.connections(1)[0].as_props(), "host": HEAD}
    return {"name": NAME, "stack": "dgx", "manager": manager, "found": "", **changes}


def service(name: str, stack: str) -> dict[str, Any]:
    container = {"Configs": [{"ConfigName": NAME}]}
    spec = {
        "Name": name,
        "Labels": {"trtspark.stack": stack},
        "TaskTemplate": {"ContainerSpec": container},
    }
    return {"ID": f"id-of-{name}", "Version": {"Index": 1}, "Spec": spec}


def test_created_once_and_adopted_after_that(world):
    provider = RankProgramProvider()
    provider.create(props())
    provider.create(props())
    assert list(world[HEAD].managed().configs) == [NAME]


def test_one_that_the_swarm_has_is_unchanged():
    assert not RankProgramProvider().diff(NAME, props(), props(found="config-1")).changes


def test_a_new_swarm_gets_it_again_without_a_refresh(world):
    provider = RankProgramProvider()
    provider.create(props())
    world[HEAD].leave_swarm(force=True)
    world[HEAD].init_swarm(HEAD, HEAD, {})
    diff = provider.diff(NAME, props(), props())
    assert diff.changes
    assert not diff.replaces
    provider.update(NAME, props(), props())
    assert list(world[HEAD].managed().configs) == [NAME]


def test_another_program_comes_before_the_old_one_goes():
    diff = RankProgramProvider().diff(NAME, props(name="trtspark-dgx-program-old"), props(found=""))
    assert diff.replaces == ["name"]
    assert diff.delete_before_replace is False


def test_files_that_changed_during_the_run_are_named(world):
    with pytest.raises(NodeError, match="changed while"):
        RankProgramProvider().create(props(name="trtspark-dgx-program-0123456789"))


def test_refresh_misses_it(world):
    provider = RankProgramProvider()
    assert provider.read(NAME, props()).id == ""
    provider.create(props())
    assert provider.read(NAME, props()).id == NAME
    world[HEAD].leave_swarm(force=True)
    assert provider.read(NAME, props()).id == ""


def test_destroy_ends_a_service_of_ours_that_no_state_knows(world):
    provider = RankProgramProvider()
    provider.create(props())
    other = service("other", "two")
    other["Spec"]["TaskTemplate"] = {"ContainerSpec": {}}
    ours = service("trtspark-dgx-rank-0", "dgx")
    world[HEAD].managed().services = {ours["Spec"]["Name"]: ours, "other": other}
    base._HELD.clear()  # `pulumi destroy` is another process, and means nothing
    provider.delete(NAME, props())
    assert list(world[HEAD].managed().services) == ["other"]
    assert not world[HEAD].managed().configs


def test_destroy_accepts_that_nothing_is_left(world):
    RankProgramProvider().delete(NAME, props())
    world[HEAD].leave_swarm(force=True)
    RankProgramProvider().delete(NAME, props())


def test_a_program_that_was_replaced_and_is_meant_again_is_not_taken_from_the_one_that_serves(world):
    """The stack was renamed to and fro: the state holds the same one twice, and the older one goes."""
    provider = RankProgramProvider()
    provider.create(props())
    ours = service("trtspark-dgx-rank-0", "dgx")
    world[HEAD].managed().services = {ours["Spec"]["Name"]: ours}
    provider.delete(NAME, props())
    assert list(world[HEAD].managed().services) == ["trtspark-dgx-rank-0"]
    assert list(world[HEAD].managed().configs) == [NAME]
    base._HELD.clear()  # `pulumi destroy` is another process, and means nothing
    provider.delete(NAME, props())
    assert not world[HEAD].managed().services
