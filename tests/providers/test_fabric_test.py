"""The resource of the cables' test: what makes it run again, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import Unreachable
from dynamic_providers import fabric_test
from dynamic_providers.fabric_test import FabricTestProvider
from tests import samples

WIRES = [{"ranks": [0, 1], "subnet": "192.168.100.0/24", "ends": []}]


def props(**changes: Any) -> dict[str, Any]:
    connections = [one.as_props() for one in samples.connections(2)]
    return {"wires": WIRES, "connections": connections, "mode": "quick", **changes}


@pytest.mark.parametrize(
    ("olds", "news", "changes"),
    [
        (props(), props(), False),
        (props(), props(mode="full", nccl={}, image="x"), True),
        (props(mode="full", image="x"), props(mode="full", image="y"), False),
        (props(), props(wires=[]), True),
        ({key: value for key, value in props().items() if key != "mode"}, props(), False),
    ],
)
def test_only_another_fabric_or_mode_is_worth_another_test(olds, news, changes):
    assert FabricTestProvider().diff("fabric", olds, news).changes is changes


def test_the_full_test_says_what_it_could_not_test_and_warns(monkeypatch):
    warned: list[str] = []
    monkeypatch.setattr(fabric_test, "warn", lambda: warned.append)
    monkeypatch.setattr(
        "remote.fabric_test.measure_all",
        lambda _props, _say: (["a line"], ["slow"], ["NCCL was not tested: x"]),
    )
    outs = FabricTestProvider().create(props(mode="full", nccl={}, image="x")).outs
    assert outs["fabric"] == ["a line", "NCCL was not tested: x"]
    assert outs["warnings"] == warned == ["slow"]


def test_destroy_removes_what_an_interrupted_full_test_left_where_it_can(monkeypatch):
    swept = []

    def connect(connection):
        if connection.host.endswith("11"):
            raise Unreachable(connection.host, "no answer.", "Try again.")
        return connection.host

    monkeypatch.setattr("remote.engine.connect", connect)
    monkeypatch.setattr("remote.nccl_test.sweep", swept.append)
    FabricTestProvider().delete("fabric", props())
    assert swept == ["10.24.11.12"]
