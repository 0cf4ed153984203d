"""The service's provider against engines in memory: created, adopted, updated, found changed, removed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from pulumi.output import Unknown

from cluster.errors import NodeError, NotReady
from cluster.service_spec import NOTHING, PAUSED, SILENT, SPEC_LABEL, File, Rank, rank_service, runs, seen
from dynamic_providers.swarm_service import SwarmServiceProvider
from remote import services
from tests import samples
from tests.providers.fake_swarm import Engines, refused

HEAD, WORKER = "10.0.0.1", "10.0.0.2"
NAME = "trtspark-dgx-rank-1"
OURS = {"trtspark.stack": "dgx", "trtspark.rank": "1"}


@pytest.fixture
def world(monkeypatch):
    made = Engines(HEAD, WORKER)
    made[HEAD].init_swarm(HEAD, HEAD, {})
    made[HEAD].managed().configs = {"options-1": "config-1", "options-2": "config-2"}
    made[HEAD].managed().secrets = {"key": "secret-1"}
    made[WORKER].running = {"theirs": {"trtspark.stack": "other", "trtspark.rank": "1"}}
    made_service = made[HEAD].create_service

    def create_service(*args: Any, **more: Any) -> Any:
        """As Swarm does: its container comes with it."""
        made[WORKER].running["old"] = dict(OURS)
        return made_service(*args, **more)

    monkeypatch.setattr(made[HEAD], "create_service", create_service)
    monkeypatch.setattr(services, "connect", made.dial)
    monkeypatch.setattr(services, "STOP_DEADLINE_S", 0.3)
    return made


def props(image: str = "release@sha256:1", **changes: Any) -> dict[str, Any]:
    connection = samples.connections(1)[0].as_props()
    values: dict[str, Any] = {
        "stack": "dgx",
        "rank": 1,
        "hf_cache": "/hf",
        "env": {"NCCL_DEBUG": "INFO"},
        "command": ["sleep", "infinity"],
        "configs": [File("options-1", "/options.yml")],
        "secrets": [File("key", "mpi-key", 0o400)],
    }
    spec = rank_service(Rank(**{**values, **changes}))
    ends = {"manager": {**connection, "host": HEAD}, "node": {**connection, "host": WORKER}}
    return {"spec": spec, "image": image, **ends, "found": runs(spec)}


def create(**changes: Any) -> dict[str, Any]:
    outs = SwarmServiceProvider().create(props(**changes)).outs
    assert outs is not None
    return outs


def update(olds: dict[str, Any], **changes: Any) -> dict[str, Any]:
    outs = SwarmServiceProvider().update("id", olds, props(**changes)).outs
    assert outs is not None
    return outs


def there(world: Engines) -> dict[str, Any]:
    found: dict[str, Any] = world[HEAD].managed().services[NAME]["Spec"]
    return found


def container(world: Engines) -> dict[str, Any]:
    found: dict[str, Any] = there(world)["TaskTemplate"]["ContainerSpec"]
    return found


def floats(value: Any) -> Any:
    """As Pulumi hands numbers to a provider."""
    if isinstance(value, dict):
        return {key: floats(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_created_with_the_image_and_the_ids_of_its_files(world):
    outs = create()
    assert outs["serviceId"] == world[HEAD].managed().services[NAME]["ID"]
    assert container(world)["Image"] == "release@sha256:1"
    assert [entry["ConfigID"] for entry in container(world)["Configs"]] == ["config-1"]
    assert [entry["SecretID"] for entry in container(world)["Secrets"]] == ["secret-1"]
    assert there(world)["Labels"] == OURS


def test_what_a_removed_service_leaves_running_ends_before_another_is_created(world):
    """It would answer for the new one for a while."""
    world[WORKER].running["left"] = dict(OURS)
    create()
    assert list(world[WORKER].ended) == ["left"]
    assert set(world[WORKER].running) == {"old", "theirs"}


def test_whole_numbers_reach_the_engine_as_integers(world):
    SwarmServiceProvider().create(floats(props()))
    assert ".0" not in json.dumps(there(world)["TaskTemplate"]).replace("sha256", "")
    assert there(world)["Mode"] == {"Replicated": {"Replicas": 1}}


def test_a_service_of_ours_from_an_interrupted_run_is_adopted(world):
    first = create()
    again = create(image="release@sha256:2")
    assert again["serviceId"] == first["serviceId"]
    assert container(world)["Image"] == "release@sha256:2"


@pytest.mark.parametrize("labels", [{}, None, {"trtspark.stack": "other"}])
def test_a_service_of_somebody_else_is_refused_and_left_alone(world, labels):
    theirs = {"ID": "s", "Version": {"Index": 7}, "Spec": {"Name": NAME, "Labels": labels}}
    world[HEAD].managed().services[NAME] = copy.deepcopy(theirs)
    with pytest.raises(NodeError, match="is there already and is not ours") as caught:
        create()
    assert f"docker service rm {NAME}" in str(caught.value)
    assert world[HEAD].managed().services[NAME] == theirs


def test_an_update_ends_the_old_container_and_no_other(world):
    update(create(), image="release@sha256:2")
    assert list(world[WORKER].ended) == ["old"]
    assert list(world[WORKER].running) == ["theirs"]


def test_the_old_container_is_asked_first_and_killed_after_its_grace(world):
    outs = create(stop_grace_s=0)
    update(outs, image="release@sha256:2", stop_grace_s=0)
    assert world[WORKER].signals == [("old", "SIGTERM")]


def test_a_container_deaf_to_the_first_signal_is_killed(world):
    outs = create(stop_grace_s=0)
    world[WORKER].deaf = {"old"}
    update(outs, image="release@sha256:2", stop_grace_s=0)
    assert world[WORKER].signals == [("old", "SIGTERM"), ("old", "SIGKILL")]
    assert list(world[WORKER].running) == ["theirs"]


def test_an_update_that_meets_swarms_own_is_begun_again(world, monkeypatch):
    outs = create()
    inspect, raised = world[HEAD].inspect_service, []

    def outdated(name: str) -> dict[str, Any]:
        found = inspect(name)
        if not raised:
            raised.append(name)
            world[HEAD].managed().services[name]["Version"]["Index"] += 1
        return found

    monkeypatch.setattr(world[HEAD], "inspect_service", outdated)
    update(outs, image="release@sha256:2")
    assert container(world)["Image"] == "release@sha256:2"


def test_inputs_that_are_not_known_yet_are_a_change():
    """As the engine asks in a run with --target."""
    news = {**props(), "gate": Unknown(), "workers": Unknown()}
    assert SwarmServiceProvider().diff("id", {**props(), "gate": {"url": "u"}, "workers": []}, news).changes


def test_what_runs_as_it_should_is_adopted_without_a_touch(world, monkeypatch):
    """After a lost state: an update, even an equal one, may make Swarm start it anew."""
    outs = create()
    world[WORKER].running = {"mine": {**OURS, SPEC_LABEL: runs(outs["spec"])}}
    monkeypatch.setattr(type(world[HEAD]), "update_service", None)
    assert create() == outs


def test_what_swarm_has_not_replaced_yet_is_ended(world):
    """An interrupted update told Swarm the new spec; the container of the one before still runs."""
    outs = create()
    world[WORKER].running = {"before": {**OURS, SPEC_LABEL: "0123456789"}}
    assert create()["applied"] != outs["applied"]
    assert world[WORKER].signals == [("before", "SIGTERM")]
    assert there(world)["TaskTemplate"]["ForceUpdate"] == 0


def test_an_update_that_restarts_nothing_ends_nothing(world):
    outs = create()
    world[WORKER].running = {"mine": {**OURS, SPEC_LABEL: runs(outs["spec"])}}
    there(world)["UpdateConfig"]["Order"] = "start-first"
    update(outs)
    assert there(world)["UpdateConfig"]["Order"] == "stop-first"
    assert list(world[WORKER].running) == ["mine"]


def test_every_change_shows_so_that_the_gate_asks_again(world):
    outs = create()
    assert update(outs, image="release@sha256:2")["applied"] != outs["applied"]


def test_a_container_that_does_not_end_is_named(world, monkeypatch):
    outs = create(stop_grace_s=0)
    monkeypatch.setattr(world[WORKER], "kill", lambda *_: None)
    with pytest.raises(NotReady, match=rf"^{WORKER}: .* container old"):
        update(outs, image="release@sha256:2", stop_grace_s=0)


def test_stopping_keeps_the_service(world):
    update(create(), running=False)
    assert there(world)["Mode"] == {"Replicated": {"Replicas": 0}}
    assert list(world[WORKER].running) == ["theirs"]


def test_what_is_a_change_and_what_a_replacement():
    diff = SwarmServiceProvider().diff
    assert not diff("id", props(), props()).changes
    assert diff("id", props(), props(image="release@sha256:2")).replaces == []
    assert diff("id", props(), props(image="release@sha256:2")).changes
    assert diff("id", props(), props(env={"NCCL_DEBUG": "WARN"})).changes
    assert diff("id", props(), props(rank=0)).replaces == ["name"]


def test_the_way_to_the_machine_is_no_change():
    news = props()
    news["manager"] = {**news["manager"], "port": 2222}
    assert not SwarmServiceProvider().diff("id", props(), news).changes


@pytest.mark.parametrize("changes", [{}, {"configs": [], "secrets": []}, {"running": False}])
def test_what_is_as_it_should_be_reads_the_same(world, changes):
    outs = create(**changes)
    spec = outs["spec"]
    stopped = runs(spec) == NOTHING
    world[WORKER].running = {} if stopped else {"mine": {**OURS, SPEC_LABEL: runs(spec)}}
    found = SwarmServiceProvider().read("id", outs)
    assert found.id == outs["serviceId"]
    assert not SwarmServiceProvider().diff("id", found.outs, props(**changes)).changes


def drifted(world: Engines, outs: dict[str, Any]) -> dict[str, Any]:
    found = SwarmServiceProvider().read("id", outs)
    assert SwarmServiceProvider().diff("id", found.outs, props()).changes
    assert found.outs is not None
    return found.outs


def test_another_image_is_drift(world):
    outs = create()
    container(world)["Image"] = "somebody/else:latest"
    assert drifted(world, outs)["image"] == "somebody/else:latest"


def test_a_container_of_another_image_than_its_services_is_drift_and_started_anew(world):
    outs = create()
    world[WORKER].running = {"new": dict(OURS)}
    world[WORKER].images["new"] = "release@sha256:2"
    found = drifted(world, outs)
    assert found["image"] == "release@sha256:2"
    forced = there(world)["TaskTemplate"]["ForceUpdate"]
    update(outs)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == forced + 1
    assert world[WORKER].signals == [("new", "SIGTERM")]


def test_an_image_by_name_is_not_compared_with_what_docker_makes_of_it(world):
    outs = create(image="mine")
    world[WORKER].running = {"new": dict(OURS)}
    world[WORKER].images["new"] = "mine:latest"
    assert drifted(world, outs)["image"] == "mine"


def test_another_environment_is_drift(world):
    outs = create()
    container(world)["Env"] = ["NCCL_DEBUG=WARN"]
    assert drifted(world, outs)["spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["NCCL_DEBUG=WARN"]


def test_a_service_scaled_to_nothing_is_drift(world):
    outs = create()
    there(world)["Mode"]["Replicated"]["Replicas"] = 0
    assert drifted(world, outs)["spec"]["Mode"] == {"Replicated": {"Replicas": 0}}


@pytest.mark.parametrize("running", [{}, {"other": {**OURS, SPEC_LABEL: "0123456789"}}, {"old": dict(OURS)}])
def test_a_container_that_is_not_of_the_spec_is_drift_and_a_reason_for_an_update(world, running):
    """Left by an interrupted run, or ended too often: the state alone would not tell."""
    outs = create()
    world[WORKER].running = running
    found = SwarmServiceProvider().read("id", outs).outs
    assert found["found"] != runs(outs["spec"])
    news = {**props(), "found": found["found"]}
    assert SwarmServiceProvider().diff("id", outs, news).changes
    assert not SwarmServiceProvider().diff("id", outs, props()).changes


def test_what_swarm_is_about_to_replace_is_not_taken_for_what_it_was_told_last(world):
    """`up` was killed after the Swarm had another spec: the container before it is still there, draining."""
    outs = create()
    world[WORKER].running = {"mine": {**OURS, SPEC_LABEL: runs(outs["spec"])}}
    container(world)["Labels"][SPEC_LABEL] = "0123456789"
    found = SwarmServiceProvider().read("id", outs).outs
    assert found["found"] == f"{runs(outs['spec'])}, to become 0123456789"
    assert SwarmServiceProvider().diff("id", outs, {**props(), "found": found["found"]}).changes


def test_a_server_that_swarm_has_given_up_is_started_anew(world):
    outs = create()
    world[WORKER].running = {}
    update(outs)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == 1
    world[WORKER].running = {"mine": dict(OURS)}
    update(outs)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == 1


def test_a_stopped_server_is_started_whatever_it_has_been_through(world):
    """Stopped for a worker's sake, it may have used up Swarm's attempts: only a changed task counts anew."""
    outs = create(running=False)
    world[WORKER].running = {}
    update(outs)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == 1


@pytest.mark.parametrize(("desired", "forced"), [("running", 0), ("ready", 0), ("shutdown", 1)])
def test_what_swarm_is_about_to_start_is_not_started_twice(world, desired, forced):
    """A worker whose GPU has just come back starts while `up` runs; another start would end rank 0."""
    outs = create()
    world[WORKER].running = {}
    world[HEAD].managed().tasks = [{"ServiceID": outs["serviceId"], "DesiredState": desired}]
    update(outs)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == forced


def test_files_taken_away_by_hand_are_drift(world):
    outs = create()
    del container(world)["Configs"]
    assert drifted(world, outs)["spec"]["TaskTemplate"]["ContainerSpec"]["Configs"] == []


def test_a_network_more_is_drift(world):
    outs = create()
    there(world)["TaskTemplate"]["Networks"].append({"Target": "id-of-another"})
    drifted(world, outs)


def test_drift_is_mended_by_an_update(world):
    outs = create()
    container(world)["Env"] = []
    update(drifted(world, outs))
    world[WORKER].running = {"mine": {**OURS, SPEC_LABEL: runs(outs["spec"])}}
    assert (
        not SwarmServiceProvider().diff("id", SwarmServiceProvider().read("id", outs).outs, props()).changes
    )


@pytest.mark.parametrize("how", ["service", "swarm"])
def test_a_service_that_is_gone_reads_as_gone(world, how):
    outs = create()
    if how == "service":
        world[HEAD].remove_service(NAME)
    else:
        world[HEAD].leave_swarm(force=True)
    assert SwarmServiceProvider().read("id", outs).id == ""


def test_an_engine_that_fails_is_not_taken_for_a_service_that_is_gone(world, monkeypatch):
    outs = create()

    def fail(_name: str) -> None:
        raise refused(500, "rpc error: The swarm does not have a leader")

    monkeypatch.setattr(world[HEAD], "inspect_service", fail)
    with pytest.raises(Exception, match="does not have a leader"):
        SwarmServiceProvider().read("id", outs)


def test_deleting_removes_the_service_and_every_container_it_had(world):
    world[WORKER].ended = {"older": dict(OURS), "their-older": {"trtspark.stack": "other"}}
    SwarmServiceProvider().delete("id", create())
    assert world[HEAD].managed().services == {}
    assert list(world[WORKER].ended) == ["their-older"]
    assert list(world[WORKER].running) == ["theirs"]


VOLUME = "trtspark-dgx-kernels"


def test_deleting_removes_the_compiled_kernels(world):
    world[WORKER].volumes = {VOLUME: {"trtspark.stack": "dgx"}, "theirs": {}}
    SwarmServiceProvider().delete("id", create())
    assert list(world[WORKER].volumes) == ["theirs"]


@pytest.mark.parametrize("labels", [{}, {"trtspark.stack": "other"}])
def test_a_volume_of_that_name_that_is_not_ours_stays(world, labels):
    world[WORKER].volumes = {VOLUME: labels}
    SwarmServiceProvider().delete("id", create())
    assert world[WORKER].volumes == {VOLUME: labels}


def on_the_head(outs: dict[str, Any]) -> dict[str, Any]:
    """What the configuration says once the rank is the head's."""
    return {**props(), "node": outs["manager"]}


def test_a_node_that_lost_its_rank_and_left_keeps_nothing(world):
    world[WORKER].volumes = {VOLUME: {"trtspark.stack": "dgx"}}
    outs = create()
    SwarmServiceProvider().update("id", outs, on_the_head(outs))
    assert world[WORKER].volumes == {}
    assert list(world[WORKER].running) == ["theirs"]


def test_a_node_that_is_still_in_a_swarm_may_be_the_same_machine(world):
    """By another address, or with another rank: what runs there goes on."""
    world[WORKER].init_swarm(WORKER, WORKER, {})
    world[WORKER].volumes = {VOLUME: {"trtspark.stack": "dgx"}}
    outs = create()
    world[WORKER].running = {"new": dict(OURS)}
    SwarmServiceProvider().update("id", outs, on_the_head(outs))
    assert list(world[WORKER].running) == ["new"]
    assert list(world[WORKER].volumes) == [VOLUME]


def test_the_image_by_which_kernels_are_kept_is_no_drift(world):
    outs = create()
    env = world[HEAD].managed().services[NAME]["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "TRTSPARK_IMAGE=release@sha256:1" in env
    assert SwarmServiceProvider().read("id", outs).outs["spec"] == outs["spec"]


def test_deleting_what_is_gone_is_no_error(world):
    outs = create()
    world[HEAD].remove_service(NAME)
    SwarmServiceProvider().delete("id", outs)
    world[HEAD].leave_swarm(force=True)
    SwarmServiceProvider().delete("id", outs)
    assert list(world[WORKER].running) == ["theirs"]


def test_deleting_waits_for_a_container_that_does_not_end(world, monkeypatch):
    outs = create()
    monkeypatch.setattr(world[WORKER], "remove_container", lambda *_, **__: None)
    with pytest.raises(NotReady, match=rf"^{WORKER}: .* container old"):
        SwarmServiceProvider().delete("id", outs)


def running(world: Engines, outs: dict[str, Any], found: str) -> dict[str, Any]:
    """As `up` gets it: the one container runs what the spec says, and the look saw `found`."""
    world[WORKER].running = {"mine": {**OURS, SPEC_LABEL: runs(outs["spec"])}}
    return {**props(), "found": found, "gate": {"url": "http://x"}}


def test_a_paused_container_is_a_change_and_is_started_anew(world):
    outs = create()
    news = running(world, outs, PAUSED)
    world[WORKER].paused = {"mine"}
    assert (
        SwarmServiceProvider().read("id", outs).outs["found"] == f"{PAUSED}, to become {runs(outs['spec'])}"
    )
    assert SwarmServiceProvider().diff("id", outs, {**props(), "found": PAUSED}).changes
    services.apply(news)
    assert there(world)["TaskTemplate"]["ForceUpdate"] == 1
    assert world[WORKER].signals == [("mine", "SIGTERM")]


@pytest.mark.parametrize(
    ("said", "load_s", "again", "restarted"),
    [
        ("connection refused", 59, False, True),
        ("connection refused", 61, False, False),  # it may be loading still
        ("", 0, False, False),  # it came back by itself since the look
        ("no answer in time", 0, False, False),  # it may be busy
        ("", 61, True, True),
    ],
)
def test_a_server_without_an_answer_is_started_anew_once(world, monkeypatch, said, load_s, again, restarted):
    outs = create()
    news = running(world, outs, seen(SILENT, runs(outs["spec"])))
    assert SwarmServiceProvider().diff("id", outs, news).changes
    monkeypatch.setattr(services.live, "silence", lambda url: said)
    found = services.apply(news, load_s, again)
    assert (found["applied"] != outs["applied"]) == restarted
    assert there(world)["TaskTemplate"].get("ForceUpdate", 0) == int(restarted)
    assert world[WORKER].signals == ([("mine", "SIGTERM")] if restarted else [])


def test_a_server_that_has_only_just_got_its_worker_is_not_started_anew(world, monkeypatch):
    outs = create()
    news = running(world, outs, SILENT)
    other = {"trtspark.stack": "dgx", "trtspark.rank": "0"}
    world[HEAD].running, world[HEAD].started = {"theirs": other}, {"theirs": 55}
    news["workers"] = [{"spec": {"Labels": other}, "node": news["manager"]}]
    monkeypatch.setattr(services.live, "silence", lambda url: "connection refused")
    assert services.apply(news, 30)["applied"] == outs["applied"]
    world[HEAD].started = {"theirs": 10}
    assert services.apply(news, 30)["applied"] != outs["applied"]


def test_a_server_that_was_not_found_dead_is_not_asked(world, monkeypatch):
    outs = create()
    news = running(world, outs, runs(outs["spec"]))
    monkeypatch.setattr(services.live, "silence", None)
    assert services.apply(news)["applied"] == outs["applied"]
