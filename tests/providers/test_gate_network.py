"""The gate while the operator's network is gone: it waits, says so, and ends at its deadline."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import NotReady, Unreachable
from cluster.service_spec import SPEC_LABEL
from remote import readiness
from tests import samples

GONE = Unreachable("10.0.0.1", "Docker stopped answering (no answer in time).", "Check the machine.")


class Manager:
    """Swarm with a few tasks, behind a network that is gone for the first `gone` questions."""

    def __init__(self, gone: int, state: str = "running") -> None:
        self.gone, self.state = gone, state

    def tasks(self, filters: Any) -> list[dict[str, Any]]:
        del filters
        if self.gone:
            self.gone -= 1
            raise GONE
        status = {"State": self.state, "ContainerStatus": {"ContainerID": "c0"}}
        spec = {"ContainerSpec": {"Labels": {SPEC_LABEL: "f"}}}
        wanted = "running" if self.state == "running" else "shutdown"
        task = {"CreatedAt": "1", "DesiredState": wanted, "Status": status, "Spec": spec}
        return [{**task, "ID": f"t{n}"} for n in range(readiness.MAX_FAILURES)]

    def logs(self, container: str, tail: int) -> bytes:
        del container, tail
        return b"Loading weights\n"


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(readiness, "LOOK_S", 0.0)
    monkeypatch.setattr(readiness.transport, "prove", lambda _props, _lines: [])

    def run(manager: Manager, answers: list[bool], timeout: float = 1.0) -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        completions = iter(answers)
        monkeypatch.setattr(readiness, "connect", lambda _connection: manager)
        monkeypatch.setattr(readiness._Completions, "succeed", lambda _self: next(completions, False))
        props = {
            "manager": samples.connections(1)[0].as_props(),
            "model": "m",
            "url": "http://10.0.0.1:8355",
            "service": "s",
            "fingerprint": "f",
            "network": [],
            "timeout": timeout,
        }
        return readiness.gate(props, said.append), said

    return run


def test_a_network_that_comes_back_is_ridden_out(gate):
    outs, said = gate(Manager(gone=3), [False] * 4 + [True])
    assert outs["readySeconds"] < 1
    assert said[0].startswith("the head cannot be reached; 0 of at most 1 s: 10.0.0.1: Docker stopped")
    assert "Loading weights" in said[-1]


def test_a_network_that_stays_away_ends_at_the_deadline_with_the_last_error(gate):
    with pytest.raises(NotReady) as caught:
        gate(Manager(gone=10**6), [])
    text = str(caught.value)
    assert text.startswith("m: waited 1 s for m to answer at http://10.0.0.1:8355 (readyTimeout)")
    assert "10.0.0.1: Docker stopped answering (no answer in time)." in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_tasks_that_failed_before_the_network_came_back_do_not_count(gate):
    _, said = gate(Manager(gone=1, state="failed"), [False] * 3 + [True])
    assert not any("in a row" in line for line in said)
