"""The GPU runtime's provider: what a plan sees of a broken thing, and the new login after a new group."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster import preparation
from cluster.errors import TrtSparkError
from dynamic_providers.gpu_runtime import GpuRuntimeProvider
from remote import gpu_runtime
from remote.ssh import Result
from tests import samples

LOGIN = samples.connections(1)[0].as_props()
PROPS = {
    "stack": "dgx",
    "takeOver": "",
    "gpu": "GPU-1",
    "connection": LOGIN,
    "group": True,
    "things": {"a": "as it should be"},
    "steps": [],
}
DONE = {"changed": ["/etc/docker/daemon.json"], "docker": "restarted", "login": False}


class Session:
    """A node that answers in turn."""

    def __init__(self, *answers: dict[str, Any] | Result) -> None:
        self.answers, self.heard = list(answers), []

    def __call__(self, _connection: Any) -> Session:
        return self

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        answer = self.answers.pop(0)
        self.heard.append(
            "restore" if '"restore"' in command else "apply" if '"apply"' in command else "look"
        )
        return answer if isinstance(answer, Result) else Result(0, json.dumps(answer), "")

    def close(self) -> None:
        self.heard.append("close")

    def renew(self) -> None:
        self.heard.append("renew")


def program(answer: dict[str, Any]) -> dict[str, Any]:
    return {"gpu_runtime": answer}


def test_a_new_group_is_followed_by_a_new_login():
    node = Session(program({**DONE, "login": True}), program(DONE))
    assert gpu_runtime.prepare(PROPS, node) == DONE
    assert node.heard == ["apply", "renew", "apply"]


def test_without_one_there_is_one_round_trip():
    node = Session(program(DONE))
    gpu_runtime.prepare(PROPS, node)
    assert node.heard == ["apply"]


def test_the_group_given_back_ends_the_shared_login_too():
    node = Session(program({**DONE, "login": True}))
    gpu_runtime.give_back(PROPS, node)
    assert node.heard == ["restore", "renew"]


def test_what_the_node_says_is_the_error():
    node = Session(Result(1, "", "Last login: …\n/etc/docker/daemon.json is not valid JSON. Mend it.\n"))
    with pytest.raises(TrtSparkError) as caught:
        gpu_runtime.prepare(PROPS, node)
    assert str(caught.value) == "10.24.11.11: /etc/docker/daemon.json is not valid JSON. Mend it."


def test_a_look_is_the_probes_thing_by_thing():
    document = samples.documents(1)[0]
    found = gpu_runtime.look(PROPS, Session({"probe": document}))
    assert found == preparation.found(samples.facts(1)[0])


def test_no_difference_and_no_step_is_no_change():
    assert not GpuRuntimeProvider().diff("id", PROPS, PROPS).changes


def test_the_steps_of_the_last_time_are_no_change():
    assert not GpuRuntimeProvider().diff("id", {**PROPS, "steps": ["Docker restarts"]}, PROPS).changes


def test_a_thing_that_refresh_found_broken_is_a_change():
    olds = {**PROPS, "things": {"a": "broken"}}
    assert GpuRuntimeProvider().diff("id", olds, PROPS).changes


def test_a_step_that_the_look_before_the_plan_found_is_a_change():
    assert GpuRuntimeProvider().diff("id", PROPS, {**PROPS, "steps": ["Docker restarts"]}).changes


def test_another_login_alone_is_no_change():
    other = {**PROPS["connection"], "user": "somebody", "port": 2222}
    assert not GpuRuntimeProvider().diff("id", PROPS, {**PROPS, "connection": other, "group": False}).changes


def test_refresh_shows_things_as_they_are(monkeypatch):
    monkeypatch.setattr(gpu_runtime, "look", lambda _props: {"a": "broken"})
    result = GpuRuntimeProvider().read("id", PROPS)
    assert result.inputs["things"] == result.outs["things"] == {"a": "broken"}
