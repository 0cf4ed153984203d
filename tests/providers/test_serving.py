"""A switch never ends with nothing when there was something: rank 0's service with its gate."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import NotReady, TrtSparkError, Unreachable
from cluster.patience import LEAST_S, load_rate, patience
from cluster.service_spec import SILENT, SPEC_LABEL, Rank, rank_service, runs
from dynamic_providers.swarm_service import SwarmServiceProvider
from remote import services, serving
from tests import samples
from tests.providers.fake_swarm import Engines

HEAD, WORKER = "10.0.0.1", "10.0.0.2"
GB = 10**9


@pytest.fixture
def world(monkeypatch):
    made = Engines(HEAD, WORKER)
    made[HEAD].init_swarm(HEAD, HEAD, {})
    monkeypatch.setattr(services, "connect", made.dial)
    monkeypatch.setattr(services, "STOP_DEADLINE_S", 0.3)
    monkeypatch.setattr(
        serving.live, "confined", lambda stack, image, logins: [f"{stack} {image} {len(logins)}"]
    )
    return made


class Gate:
    """What the gate finds, by model: seconds to ready, or the error."""

    def __init__(self, monkeypatch, **models: Any) -> None:
        self.models, self.asked = models, []
        monkeypatch.setattr(serving, "gate", self)

    def __call__(self, props, say):
        self.asked.append((props["model"], props["timeout"]))
        found = self.models[props["model"]]
        if isinstance(found, Exception):
            raise found
        return {"readySeconds": found, "provenTransport": [props["model"]]}


def rank(number: int, image: str, **changes: Any) -> dict[str, Any]:
    connection = samples.connections(1)[0].as_props()
    ends = {
        "manager": {**connection, "host": HEAD},
        "node": {**connection, "host": HEAD if number == 0 else WORKER},
    }
    values = {
        "stack": "dgx",
        "rank": number,
        "hf_cache": "/hf",
        "env": {},
        "command": ["x"],
        "stop_grace_s": 0,
    }
    spec = rank_service(Rank(**{**values, **changes}))
    return {"spec": spec, "image": image, **ends, "found": runs(spec)}


def server(model: str, image: str = "release@sha256:1", **gate: Any) -> dict[str, Any]:
    worker = rank(1, image)
    workers = [{key: worker[key] for key in ("spec", "image", "node")} | {"applied": image}]
    waiting = {"url": "u", "model": model, "transport": "IB", "network": [], "timeout": 0, "bytes": 60 * GB}
    waiting["connections"] = [worker["manager"], worker["node"]]
    return {**rank(0, image, args=[model]), "gate": {**waiting, **gate}, "workers": workers}


def serves(world: Engines, number: int = 0) -> tuple[list[str], str]:
    container = world[HEAD].managed().services[f"trtspark-dgx-rank-{number}"]["Spec"]["TaskTemplate"]
    return container["ContainerSpec"].get("Args", []), container["ContainerSpec"]["Image"]


def create(props: dict[str, Any]) -> dict[str, Any]:
    outs = SwarmServiceProvider().create(props).outs
    assert outs is not None
    return outs


def update(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    outs = SwarmServiceProvider().update("id", olds, news).outs
    assert outs is not None
    return outs


def test_a_good_switch(world, monkeypatch):
    Gate(monkeypatch, old=100.0, new=50.0)
    outs = update(create(server("old")), server("new"))
    assert serves(world)[0] == ["new"]
    assert (outs["readySeconds"], outs["provenTransport"]) == (50.0, ["new"])


def test_a_failed_switch_brings_the_old_server_back_and_says_both(world, monkeypatch):
    gate = Gate(monkeypatch, old=100.0, new=NotReady("new: out of memory."))
    outs = create(server("old"))
    with pytest.raises(NotReady) as caught:
        update(outs, server("new"))
    assert serves(world)[0] == ["old"]
    assert [model for model, _ in gate.asked] == ["old", "new", "old"]
    assert str(caught.value).startswith("new: out of memory. old serves again as before.")


def test_a_failed_switch_of_the_image_brings_the_workers_back_too(world, monkeypatch):
    Gate(monkeypatch, old=1.0, new=TrtSparkError("new: the ranks do not use RDMA as planned."))
    SwarmServiceProvider().create(rank(1, "release@sha256:1"))
    outs = create(server("old"))
    SwarmServiceProvider().update("id", rank(1, "release@sha256:1"), rank(1, "release@sha256:2"))
    with pytest.raises(NotReady):
        update(outs, server("new", "release@sha256:2"))
    assert serves(world, 0) == (["old"], "release@sha256:1")
    assert serves(world, 1)[1] == "release@sha256:1"


def test_an_image_that_failed_once_is_tried_again_on_every_rank(world, monkeypatch):
    """The worker went back with the old server; its own resource says that it has the new image."""
    gate = Gate(monkeypatch, old=1.0, new=NotReady("new: the network was gone."))
    SwarmServiceProvider().create(rank(1, "release@sha256:1"))
    outs = create(server("old"))
    SwarmServiceProvider().update("id", rank(1, "release@sha256:1"), rank(1, "release@sha256:2"))
    with pytest.raises(NotReady):
        update(outs, server("new", "release@sha256:2"))
    gate.models["new"] = 1.0
    update(outs, server("new", "release@sha256:2"))
    assert serves(world, 0) == (["new"], "release@sha256:2")
    assert serves(world, 1)[1] == "release@sha256:2"


def test_where_the_old_one_does_not_come_back_both_reasons_are_told(world, monkeypatch):
    gate = Gate(monkeypatch, old=1.0, new=NotReady("new: crashed."))
    outs = create(server("old"))
    gate.models["old"] = NotReady("old: crashed too.")
    with pytest.raises(
        NotReady, match=r"new: crashed\. And old, which served before, did not come back: old"
    ):
        update(outs, server("new"))


def test_a_first_server_that_does_not_become_ready_is_its_own_error(world, monkeypatch):
    Gate(monkeypatch, new=NotReady("new: crashed."))
    with pytest.raises(NotReady, match=r"^new: crashed\.$"):
        create(server("new"))


def test_a_stopped_server_is_not_waited_for_and_not_come_back_to(world, monkeypatch):
    gate = Gate(monkeypatch, old=1.0, new=NotReady("new: crashed."))
    stopped = {**rank(0, "release@sha256:1", running=False), "gate": {}, "workers": []}
    outs = update(create(server("old")), stopped)
    assert (outs["readySeconds"], outs["provenTransport"]) == (None, [])
    gate.asked.clear()
    with pytest.raises(NotReady, match=r"^new: crashed\.$"):
        update(outs, server("new"))
    assert [model for model, _ in gate.asked] == ["new"]


def test_the_deadline_is_by_size_and_by_the_rate_of_the_last_load(world, monkeypatch):
    gate = Gate(monkeypatch, old=30.0, new=1.0, given=1.0)
    outs = create(server("old"))
    assert outs["loadRate"] == pytest.approx(2 * GB)
    outs = update(outs, server("new", bytes=240 * GB))
    update(outs, server("given", timeout=7))
    assert gate.asked == [("old", 360.0), ("new", 360.0), ("given", 7.0)]


def test_patience():
    assert patience(0, None) == LEAST_S
    assert patience(1000 * GB, 1e9) == 3000
    assert load_rate(GB, 1.0) is None
    assert load_rate(60 * GB, 30.0) == 2e9


def test_a_worker_that_restarts_drains_the_server_first(world, monkeypatch):
    """Its ranks would die with requests in them."""
    Gate(monkeypatch, old=1.0)
    first = {**rank(1, "release@sha256:1"), "server": {"name": "trtspark-dgx-rank-0"}}
    first["server"]["node"] = rank(0, "")["node"]
    create(first)
    create(server("old"))
    labels = {"trtspark.stack": "dgx", "trtspark.rank": "0"}
    world[HEAD].running = {"server": labels}
    update(first, {**first, "image": "release@sha256:2"})
    assert world[HEAD].signals == [("server", "SIGTERM")]
    mode = world[HEAD].managed().services["trtspark-dgx-rank-0"]["Spec"]["Mode"]
    assert mode == {"Replicated": {"Replicas": 0}}
    update(server("old"), server("old", "release@sha256:2"))
    mode = world[HEAD].managed().services["trtspark-dgx-rank-0"]["Spec"]["Mode"]
    assert mode == {"Replicated": {"Replicas": 1}}


def test_a_changed_worker_or_transport_is_a_reason_to_prove_again_and_a_deadline_is_not():
    diff = SwarmServiceProvider().diff
    before = server("old")
    assert not diff("id", before, server("old", timeout=99)).changes
    assert diff("id", before, server("old", transport="any")).changes
    other = server("old")
    other["workers"][0]["applied"] = "8"
    assert diff("id", before, other).changes


def test_ranks_that_may_not_use_every_core_are_a_warning_once_it_serves(world, monkeypatch):
    gate, warned = Gate(monkeypatch, one=1.0, two=NotReady("no")), []
    serving.serve(server("one"), None, gate.asked.append, warned.append)
    assert warned == ["dgx release@sha256:1 2"]
    with pytest.raises(NotReady):
        serving.serve(server("two"), None, gate.asked.append, warned.append)
    assert len(warned) == 1


class Flaky(Gate):
    """Answers once it was asked so often."""

    def __init__(self, monkeypatch, failures: int) -> None:
        super().__init__(monkeypatch)
        self.failures = failures

    def __call__(self, props, say):
        self.asked.append((props["model"], props["timeout"]))
        if len(self.asked) <= self.failures:
            raise NotReady("old: hangs.")
        return {"readySeconds": 20.0, "provenTransport": []}


def as_deployed(world: Engines, monkeypatch) -> dict[str, Any]:
    """A server that is up as its state says; its container was started a minute ago, within 10 s."""
    Gate(monkeypatch, old=10.0)
    outs = create(server("old"))
    labels = {"trtspark.stack": "dgx", "trtspark.rank": "0", SPEC_LABEL: runs(outs["spec"])}
    world[HEAD].running = {"one": labels}
    return outs


def forced(world: Engines) -> int:
    task = world[HEAD].managed().services["trtspark-dgx-rank-0"]["Spec"]["TaskTemplate"]
    return int(task.get("ForceUpdate", 0))


@pytest.mark.parametrize(("failures", "comes"), [(1, True), (2, False)])
def test_a_server_that_does_not_prove_itself_is_started_once_and_has_no_other_to_go_back_to(
    world, monkeypatch, failures, comes
):
    outs = as_deployed(world, monkeypatch)
    gate = Flaky(monkeypatch, failures)
    if comes:
        assert update(outs, server("old"))["readySeconds"] == 20.0
    else:
        with pytest.raises(NotReady, match=r"^old: hangs\.$"):
            update(outs, server("old"))
    assert len(gate.asked) == 2
    assert forced(world) == 1
    assert world[HEAD].signals == [("one", "SIGTERM")]


def test_a_dead_server_is_started_at_once_and_not_a_second_time(world, monkeypatch):
    outs = as_deployed(world, monkeypatch)
    monkeypatch.setattr(services.live, "silence", lambda url: "connection refused")
    gate = Flaky(monkeypatch, 9)
    with pytest.raises(NotReady, match=r"^old: hangs\.$"):
        update(outs, {**server("old"), "found": SILENT})
    assert (len(gate.asked), forced(world)) == (1, 1)


def test_a_server_that_loads_is_waited_for(world, monkeypatch):
    """It takes up to three times as long as the last time: 30 s."""
    outs = as_deployed(world, monkeypatch)
    monkeypatch.setattr(services.live, "silence", lambda url: "connection refused")
    world[HEAD].started = {"one": 31}
    gate = Flaky(monkeypatch, 0)
    assert update(outs, {**server("old"), "found": SILENT})["readySeconds"] == 20.0
    assert (len(gate.asked), forced(world)) == (1, 0)


def test_a_head_that_is_away_for_a_moment_while_its_server_is_changed(monkeypatch):
    """The errors of one that stays away, and of another machine, stand."""
    head = samples.connections(1)[0]
    gone = [Unreachable(head.target, "it is gone.", "Wait.")] * 2
    said: list[str] = []

    def apply(_props, load_s):
        assert load_s == 7
        if gone:
            raise gone.pop()
        return {"applied": "x"}

    monkeypatch.setattr(serving, "apply", apply)
    monkeypatch.setattr(serving, "RETRY_S", 0.01)
    props = {"manager": head.as_props()}
    assert serving._applied(props, 7, said.append) == {"applied": "x"}
    assert len(said) == 2
    gone[:] = [Unreachable("nvidia@10.9.9.9", "it is off.", "Switch it on.")]
    with pytest.raises(Unreachable, match="it is off"):
        serving._applied(props, 7, said.append)
    monkeypatch.setattr(serving, "HEAD_GONE_S", 0.05)
    gone[:] = [Unreachable(head.target, "it is gone.", "Wait.")] * 99
    with pytest.raises(Unreachable, match="it is gone"):
        serving._applied(props, 7, said.append)


@pytest.mark.parametrize("props", [{}, {"gate": {}}], ids=["worker", "stopped"])
def test_it_is_asked_again_for_every_ranks_service(monkeypatch, props):
    head = samples.connections(1)[0]
    gone = [Unreachable(head.target, "it is gone.", "Wait.")]

    def apply(_props, _load_s):
        if gone:
            raise gone.pop()
        return {"applied": "x"}

    monkeypatch.setattr(serving, "apply", apply)
    monkeypatch.setattr(serving, "RETRY_S", 0.01)
    assert serving.serve({**props, "manager": head.as_props()}, None, lambda _text: None)["applied"] == "x"
