"""`trtspark status`: what is asked again while it goes on, and the services that a state holds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from cluster.service_spec import mark
from tests.unit.test_service_spec import spec
from trtspark import project
from trtspark.commands import status
from trtspark.project import Stack

RESOURCE = {"type": "pulumi-python:dynamic/trtspark:SwarmService", "outputs": {"spec": spec(), "image": "i"}}


def answering(monkeypatch, answer):
    asked = []

    def run(words, **_more):
        asked.append(words)
        return SimpleNamespace(stdout=json.dumps(answer))

    monkeypatch.setattr(project, "_command", lambda: SimpleNamespace(run=run))
    return asked


def test_the_services_of_the_state_and_no_secret_of_it(monkeypatch, tmp_path):
    asked = answering(monkeypatch, {"version": 3, "deployment": {"resources": [RESOURCE]}})
    [one] = Stack(tmp_path, "dgx").services
    assert (one.rank, one.mark) == (1, mark(spec()))
    assert "--show-secrets" not in asked[0]


@pytest.mark.parametrize("deployment", [None, {}, {"resources": None}])
def test_a_stack_that_was_never_deployed(monkeypatch, tmp_path, deployment):
    answering(monkeypatch, {"version": 3, "deployment": deployment})
    assert Stack(tmp_path, "dgx").services == []


def test_while_something_differs_pulumi_is_asked_again_but_not_each_time(monkeypatch, tmp_path):
    asked = answering(monkeypatch, {"deployment": {"resources": [RESOURCE]}})
    monkeypatch.setattr(status, "look", lambda stack, _eyes: stack.services)
    stack = Stack(tmp_path, "dgx")
    fine, differs = SimpleNamespace(drift=[]), SimpleNamespace(drift=["rank 0 does not run"])
    for before in (None, fine, differs):
        status._again(stack, None, before)
    assert len(asked) == 1
    stack.asked_at -= status.ASK_AGAIN_S + 1
    for before in (fine, differs, differs):
        status._again(stack, None, before)
    assert len(asked) == 2
