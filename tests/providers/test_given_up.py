"""Undoing something on a node that cannot be reached: an error while it is listed, a warning afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.errors import Unreachable
from dynamic_providers import base
from dynamic_providers.gpu_runtime import GpuRuntimeProvider
from dynamic_providers.rank_access import RankAccessProvider
from dynamic_providers.swarm_service import SwarmServiceProvider
from remote import gpu_runtime, rank_access, services
from tests import samples

A, B = (connection.as_props() for connection in samples.connections(2))


def dead(*_: Any) -> None:
    raise Unreachable(B["host"], "no route to host.", "Is it on?")


@pytest.fixture
def gone(monkeypatch):
    """Whatever is to be undone cannot be; the calls to `allow` and `prepare` that go through."""
    done: list[str] = []
    monkeypatch.setattr(gpu_runtime, "give_back", dead)
    monkeypatch.setattr(rank_access, "revoke", dead)
    monkeypatch.setattr(services, "remove", dead)
    monkeypatch.setattr(rank_access, "allow", lambda props: done.append(props["connection"]["host"]))
    return done


def listing(monkeypatch, *hosts: str, head_only: str | None = None) -> None:
    nodes = json.dumps([{"host": host} for host in hosts])
    monkeypatch.setitem(base._LISTED, "hosts", base.listed(nodes, head_only))


DELETES = [
    (GpuRuntimeProvider, {"connection": B}),
    (RankAccessProvider, {"connection": B}),
    (SwarmServiceProvider, {"node": B}),
]


@pytest.mark.parametrize(("provider", "props"), DELETES)
def test_a_listed_node_is_waited_for(gone, monkeypatch, provider, props):
    listing(monkeypatch, A["host"], B["host"])
    with pytest.raises(Unreachable, match="Take it out of nodes"):
        provider().delete("id", props)


@pytest.mark.parametrize(("provider", "props"), DELETES)
@pytest.mark.parametrize("hosts", [(A["host"],), (A["host"], B["host"])])
def test_one_that_is_no_longer_listed_is_let_go(gone, monkeypatch, provider, props, hosts):
    listing(monkeypatch, *hosts, head_only="true")
    provider().delete("id", props)


def test_a_replaced_node_loses_the_key_or_is_let_go(gone, monkeypatch):
    listing(monkeypatch, A["host"])
    RankAccessProvider().update("id", {"connection": B, "key": "k"}, {"connection": A, "key": "k"})
    assert gone == [A["host"]]


def test_what_could_not_be_known_on_a_node_is_a_warning(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(base, "warn", lambda: said.append)
    monkeypatch.setattr(gpu_runtime, "give_back", lambda _props: {"changed": [], "notes": ["it was torn."]})
    GpuRuntimeProvider().delete("id", {"connection": B, "stack": "dgx"})
    assert said == [f"{B['host']}: it was torn."]


def test_a_configuration_that_cannot_be_read_lets_nobody_go():
    assert base.listed(None, None) is None
    assert base.listed("[{}]", "false") is None
