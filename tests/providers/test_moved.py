"""A resource that moves to another machine: a failure forgets neither, and other resources keep theirs."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import NotReady
from dynamic_providers import base
from dynamic_providers.fabric_addresses import FabricAddressesProvider
from dynamic_providers.gpu_clock import GpuClockProvider
from dynamic_providers.gpu_runtime import GpuRuntimeProvider
from dynamic_providers.model_weights import ModelWeightsProvider
from dynamic_providers.rank_access import RankAccessProvider
from dynamic_providers.ssh_client import SshClientProvider
from dynamic_providers.swarm_service import SwarmServiceProvider
from remote import (
    fabric_addresses,
    gpu_clock,
    gpu_runtime,
    rank_access,
    services,
    serving,
    ssh_client,
    weights,
)
from tests import samples

A, B, C = (connection.as_props() for connection in samples.connections(3))
COMMON = {
    "stack": "dgx",
    "takeOver": "",
    "script": "",
    "folder": "f",
    "spec": {"Name": "rank-1"},
    "manager": A,
}
COMMON |= {"gpu": "GPU-1", "things": {"a": "as it should be"}, "key": "k", "image": "i", "found": ""}
COMMON |= {
    "addresses": {},
    "file": "text",
    "client": "current",
    "steps": [],
    "limit": 2200,
    "halves": [],
    "files": [],
    "sources": "",
}
PROVIDERS = {
    RankAccessProvider: "connection",
    GpuRuntimeProvider: "connection",
    GpuClockProvider: "connection",
    FabricAddressesProvider: "connection",
    SshClientProvider: "connection",
    SwarmServiceProvider: "node",
    ModelWeightsProvider: "connections",
}


@pytest.fixture
def machines(monkeypatch):
    """What is done on machines, by host, and what Pulumi's state keeps of a failure."""
    there: set[str] = set()
    kept: dict[str, Any] = {}

    def put(props, *_args, **_more):
        hosts = [
            one["host"] for one in props.get("connections") or [props.get("node") or props["connection"]]
        ]
        there.update(hosts)
        if B["host"] in hosts and not kept:
            raise NotReady("it did not work, half-way")
        return {**props, "changed": False, "docker": "", "login": False}

    def take(props, *_args, **_more):
        hosts = [
            one["host"] for one in props.get("connections") or [props.get("node") or props["connection"]]
        ]
        there.difference_update(hosts)

    def client(props, action):
        (take if action == "drop" else put)(props)
        return "current"

    for module, name in (
        (rank_access, "allow"),
        (gpu_runtime, "prepare"),
        (gpu_clock, "cap"),
        (fabric_addresses, "apply"),
        (serving, "serve"),
        (weights, "ensure"),
    ):
        monkeypatch.setattr(module, name, put)
    for module, name in (
        (rank_access, "revoke"),
        (gpu_runtime, "give_back"),
        (gpu_clock, "give_back"),
        (fabric_addresses, "remove"),
        (services, "remove"),
        (services, "moved"),
        (weights, "forget"),
    ):
        monkeypatch.setattr(module, name, take)
    monkeypatch.setattr(ssh_client, "run", client)
    monkeypatch.setattr(base, "_report_incomplete", lambda _id, outs, _reason: kept.update(outs))
    monkeypatch.setattr(base, "_HELD", {})
    monkeypatch.setattr(base, "_LISTED", {"hosts": {B["host"]}, "all": {B["host"]}})
    return there, kept


def at(provider: type, login: dict[str, Any], **changes: Any) -> dict[str, Any]:
    key = PROVIDERS[provider]
    several = [login] if key == "connections" else login
    return {**COMMON, "deleteOnDestroy": False, "aside": [], key: several, **changes}


def half_way(machines, provider: type) -> dict[str, Any]:
    there, kept = machines
    there.add(A["host"])
    with pytest.raises(NotReady):
        provider().update("id", at(provider, A), at(provider, B, gpu="GPU-2"))
    assert B["host"] in there
    return dict(kept)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_destroy_after_it_cleans_both(machines, provider):
    kept = half_way(machines, provider)
    provider().delete("id", kept)
    assert machines[0] == set()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_up_after_it_leaves_the_new_one_alone(machines, provider):
    kept = half_way(machines, provider)
    news = at(provider, B, gpu="GPU-2")
    done = provider().update("id", kept, news).outs
    assert machines[0] == {B["host"]}
    provider().delete("id", done)
    assert machines[0] == set()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_back_to_the_one_before_leaves_it_alone(machines, provider, monkeypatch):
    kept = half_way(machines, provider)
    monkeypatch.setattr(base, "_LISTED", {"hosts": {A["host"]}, "all": {A["host"]}})
    provider().update("id", kept, at(provider, A))
    assert machines[0] == {A["host"]}


#: Of which every node has one of its own, or every worker.
ONE_A_NODE = (RankAccessProvider, GpuRuntimeProvider, GpuClockProvider, FabricAddressesProvider)


def up(monkeypatch, provider: type, before: list[Any], after: list[Any]) -> None:
    """What Pulumi calls when `nodes` goes from `before` to `after`: updates first, deletes at the end."""
    hosts = {login["host"] for login in after}
    monkeypatch.setattr(base, "_LISTED", {"hosts": hosts, "all": hosts})
    olds, news = (
        [at(provider, login, gpu=f"GPU-{login['host']}") for login in logins] for logins in (before, after)
    )
    for old, new in zip(olds, news, strict=False):
        if provider().diff("id", old, new).changes:
            provider().update("id", old, new)
    for old in olds[len(news) :]:
        provider().delete("id", old)


@pytest.mark.parametrize("provider", ONE_A_NODE)
@pytest.mark.parametrize("after", [[B, A], [C, A, B], [B], [C], [A, C], [B, C], [C, B]], ids=range(7))
def test_nodes_in_another_order_or_fewer(machines, provider, after, monkeypatch):
    there, kept = machines
    kept["failed"] = "nothing fails here"
    before = [A, B] if after == [B, A] else [A, B, C]
    there.update(login["host"] for login in before)
    up(monkeypatch, provider, before, after)
    assert there == {login["host"] for login in after}
    monkeypatch.setattr(base, "_HELD", {})  # `pulumi destroy` is another process
    for login in after:
        provider().delete("id", at(provider, login))
    assert there == set()


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        ("ssh-ed25519 A 10.0.0.1,192.168.100.11", False),
        ("", True),
        ("ssh-ed25519 B 10.0.0.1,192.168.100.11", True),
        ("ssh-ed25519 A", True),
        ("ssh-ed25519 A 10.0.0.1", True),
    ],
)
def test_a_line_that_is_not_so_on_the_worker_is_a_change(found, changes):
    old = at(RankAccessProvider, A, key="ssh-ed25519 A mpi", sources="10.0.0.1,192.168.100.11")
    assert RankAccessProvider().diff("id", old, {**old, "found": found}).changes is changes


def test_another_address_of_the_head_and_the_state_of_an_older_program_are_a_change():
    new = at(RankAccessProvider, A, key="ssh-ed25519 A mpi", sources="10.0.0.2")
    new["found"] = "ssh-ed25519 A 10.0.0.2"
    for old in ({**new, "sources": "10.0.0.1"}, {key: new[key] for key in new if key != "sources"}):
        assert RankAccessProvider().diff("id", old, new).changes
