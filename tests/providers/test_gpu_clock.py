"""The clock cap's provider: what a plan sees, what reaches the node, and a node that is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster import gpu_clock as plan
from cluster.errors import TrtSparkError, Unreachable
from dynamic_providers import base
from dynamic_providers.gpu_clock import GpuClockProvider
from remote import gpu_clock
from remote.ssh import Result
from tests import samples

A, B = (connection.as_props() for connection in samples.connections(2))
PROPS: dict[str, Any] = {
    "stack": "dgx",
    "takeOver": "",
    "connection": A,
    "limit": 2200.0,  # Pulumi hands numbers back as floats
    "things": plan.wanted(2200),
    "steps": [],
}


class Node:
    def __init__(self, result: Result) -> None:
        self.result, self.commands = result, []

    def __call__(self, _connection: Any) -> Node:
        return self

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        self.commands.append(command)
        return self.result


def answers(**found: Any) -> Node:
    return Node(Result(0, json.dumps({"gpu_clock": found}), ""))


def test_the_node_is_told_the_limit_as_a_whole_number():
    node = answers(changed=True)
    assert gpu_clock.cap(PROPS, node)
    assert '"limit": 2200' in node.commands[0]
    assert "2200.0" not in node.commands[0]


def test_what_the_node_says_is_the_error():
    with pytest.raises(TrtSparkError, match=r"10\.24\.11\.11: the GPU did not take"):
        gpu_clock.cap(PROPS, Node(Result(1, "", "noise\nthe GPU did not take a cap of 2200 MHz.\n")))


@pytest.mark.parametrize(
    ("news", "changes"),
    [({}, False), ({"limit": 2000}, True), ({"steps": ["GPU clock cap: none -> 2200 MHz"]}, True),
     ({"things": plan.wanted(2000)}, True), ({"connection": B}, True)],
)  # fmt: skip
def test_what_a_plan_sees(news, changes):
    assert GpuClockProvider().diff("id", PROPS, {**PROPS, **news}).changes is changes


def test_refresh_shows_the_cap_as_it_is(monkeypatch):
    there = {"unit": "none", "boot": "not enabled", "now": "not set (inactive)"}
    monkeypatch.setattr(gpu_clock, "look", lambda _props: there)
    result = GpuClockProvider().read("id", PROPS)
    assert result.inputs["things"] == result.outs["things"] == there
    assert GpuClockProvider().diff("id", result.outs, PROPS).changes


def test_another_machine_in_the_same_place_gives_the_first_one_back(monkeypatch):
    capped, given = [], []
    monkeypatch.setattr(gpu_clock, "cap", lambda props: capped.append(props["connection"]["host"]))
    monkeypatch.setattr(gpu_clock, "give_back", lambda props: given.append(props["connection"]["host"]))
    GpuClockProvider().update("id", PROPS, {**PROPS, "connection": B})
    assert (capped, given) == ([B["host"]], [A["host"]])


def test_a_dead_node_is_let_go_once_it_is_not_listed(monkeypatch):
    def dead(_props: Any) -> None:
        raise Unreachable(A["host"], "no route to host.", "Is it on?")

    monkeypatch.setattr(gpu_clock, "give_back", dead)
    monkeypatch.setitem(base._LISTED, "hosts", {A["host"]})
    with pytest.raises(Unreachable):
        GpuClockProvider().delete("id", PROPS)
    monkeypatch.setitem(base._LISTED, "hosts", set())
    GpuClockProvider().delete("id", PROPS)
