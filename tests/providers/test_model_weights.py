"""ModelWeights as Pulumi's engine sees it: what is a change, what a refresh finds, what destroy does."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from cluster.errors import Unreachable
from dynamic_providers import base, model_weights
from dynamic_providers.model_weights import ModelWeightsProvider
from lab.hub.server import Hub
from remote import hub
from tests import samples
from tests.weights import Cluster

MODEL = "lab/bulk-2x1M"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two nodes whose logins are folders of this machine."""
    yield from nodes(tmp_path, monkeypatch, 2)


@pytest.fixture
def trio(tmp_path, monkeypatch):
    """Three of them."""
    yield from nodes(tmp_path, monkeypatch, 3)


def nodes(tmp_path, monkeypatch, count, model=MODEL):
    with Hub() as lab_hub:
        cluster = Cluster(tmp_path, count, model, lab_hub.url)
        monkeypatch.setattr("remote.weights.SshShell", cluster.shell)
        for name in ("ensure", "damage", "forget"):
            real = getattr(__import__("remote.weights", fromlist=[name]), name)
            monkeypatch.setattr(f"remote.weights.{name}", _with(real, cluster.shell))
        cluster.token = lab_hub.tokens.granted
        yield cluster


def _with(real, shell):
    return lambda *args, **more: real(*args, **more, shell=shell)


def test_created_read_damaged_updated_and_deleted(pair):
    provider = ModelWeightsProvider()
    outs = provider.create(pair.props).outs
    assert provider.diff("weights", outs, pair.props).changes is False
    assert provider.read("weights", outs).inputs["missing"] == {}
    (pair.snapshot(1) / "config.json").resolve().unlink()
    found = provider.read("weights", outs)
    assert found.inputs["missing"] == {"node-1": "missing or changed: config.json"}
    assert provider.diff("weights", found.outs, pair.props).changes is True
    mended = provider.update("weights", found.outs, pair.props).outs
    assert provider.diff("weights", mended, pair.props).changes is False
    assert pair.whole(1)
    provider.delete("weights", mended)
    assert pair.whole(0)


def test_what_the_preview_sees_missing_is_a_change(pair):
    provider = ModelWeightsProvider()
    outs = provider.create({**pair.props, "missing": {"node-0": "4 files (0.1 GB)"}}).outs
    assert outs["missing"] == {}
    news = {**pair.props, "missing": {"node-0": "config.json (0.0 GB)"}}
    assert provider.diff("weights", outs, news).changes is True


@pytest.mark.parametrize("key", ["endpoint", "streams", "halves", "fetch", "tiktokenFolder"])
def test_how_it_is_done_is_no_reason_to_do_it(pair, key):
    outs = {**pair.props, "bytes": 1}
    assert ModelWeightsProvider().diff("weights", outs, {**pair.props, key: "other"}).changes is False


@pytest.mark.parametrize("key", ["model", "revision", "hfCache", "files", "extras"])
def test_other_files_are(pair, key):
    outs = {**pair.props, "bytes": 1}
    assert ModelWeightsProvider().diff("weights", outs, {**pair.props, key: "other"}).changes is True


def test_a_state_of_an_earlier_version_is_brought_up_to_date_not_replaced(pair):
    old = {key: pair.props[key] for key in ("model", "revision", "hfCache", "connections")}
    provider = ModelWeightsProvider()
    found = provider.diff("weights", old, pair.props)
    assert found.changes is True
    assert not found.replaces
    assert provider.read("weights", old).outs == old
    provider.delete("weights", old)


def test_the_token_comes_from_the_configuration_and_is_in_no_output(pair, monkeypatch):
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # `configure` sets it for its process
    config = {"hfToken": pair.token, "weights": '{"verify": "full"}'}
    ModelWeightsProvider().configure(SimpleNamespace(config=config))
    try:
        assert model_weights._token() == pair.token
        assert model_weights._full()
        outs = ModelWeightsProvider().create(pair.props).outs
        assert pair.token not in str(outs)
    finally:
        model_weights._CONFIGURED.clear()


@pytest.mark.parametrize("where", ["HF_TOKEN", "hf auth login"])
def test_a_token_that_the_preview_accepts_reaches_the_node(tmp_path, monkeypatch, where):
    """Of a gated model: whatever the source of the token, one rule finds it for both."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    kept = tmp_path / "kept"
    # The client reads HF_TOKEN_PATH when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(kept))
    for one in nodes(tmp_path, monkeypatch, 2, "lab/gated"):
        if where == "HF_TOKEN":
            monkeypatch.setenv("HF_TOKEN", one.token)
        else:
            kept.write_text(one.token + "\n")
        settings = samples.settings(2, model="lab/gated")
        asked = hub.Hub(one.props["endpoint"], hub.token(settings))
        asked.check_access("lab/gated")
        provider = ModelWeightsProvider()
        provider.configure(SimpleNamespace(config={}))
        try:
            outs = provider.create(one.props).outs
            assert [one.whole(0), one.whole(1)] == [True, True]
            assert one.token not in str(outs)
            monkeypatch.setenv("HF_TOKEN", "hf_another")
            assert provider.diff("weights", outs, one.props).changes is False
        finally:
            model_weights._CONFIGURED.clear()


def only(pair, *numbers):
    """The inputs for some of the nodes."""
    pick = {key: [pair.props[key][n] for n in numbers] for key in ("connections", "halves")}
    return {**pair.props, **pick}


def listing(monkeypatch, *hosts):
    monkeypatch.setattr(base, "_LISTED", {"hosts": {hosts[0]}, "all": set(hosts)})


def records(pair, number):
    return (pair.homes[number] / ".local").exists()


@pytest.mark.parametrize("delete", [False, True])
def test_a_replaced_node_loses_our_record(trio, monkeypatch, delete):
    provider = ModelWeightsProvider()
    outs = provider.create(only(trio, 0, 1)).outs
    listing(monkeypatch, "node-0", "node-2")
    news = {**only(trio, 0, 2), "deleteOnDestroy": delete}
    assert provider.diff("weights", outs, news).changes is True
    outs = provider.update("weights", outs, news).outs
    assert [records(trio, n) for n in range(3)] == [True, False, True]
    assert [trio.whole(n) for n in range(3)] == [True, not delete, True]
    assert provider.diff("weights", outs, news).changes is False


def test_one_that_does_not_serve_for_now_keeps_it_until_it_leaves(trio, monkeypatch):
    provider = ModelWeightsProvider()
    outs = provider.create({**only(trio, 0, 1, 2), "deleteOnDestroy": True}).outs
    alone = {**only(trio, 0), "deleteOnDestroy": True}
    listing(monkeypatch, "node-0", "node-1", "node-2")
    outs = provider.update("weights", outs, alone).outs
    assert all(records(trio, n) and trio.whole(n) for n in range(3))
    outs = provider.read("weights", outs).outs
    assert provider.diff("weights", outs, alone).changes is False
    listing(monkeypatch, "node-0", "node-1")
    assert provider.diff("weights", outs, alone).changes is True
    outs = provider.update("weights", outs, alone).outs
    assert [records(trio, n) for n in range(3)] == [True, True, False]
    assert provider.diff("weights", outs, alone).changes is False
    provider.delete("weights", outs)
    assert not any(records(trio, n) or trio.whole(n) for n in range(3))


def test_back_among_those_that_serve_it_is_no_longer_aside(trio, monkeypatch):
    provider = ModelWeightsProvider()
    outs = provider.create(only(trio, 0, 1)).outs
    listing(monkeypatch, "node-0", "node-1")
    outs = provider.update("weights", outs, only(trio, 0)).outs
    assert [one["host"] for one in outs["aside"]] == ["node-1"]
    assert provider.update("weights", outs, only(trio, 0, 1)).outs["aside"] == []


def test_a_dead_node_is_let_go_once_it_is_not_listed(trio, monkeypatch):
    provider = ModelWeightsProvider()
    outs = provider.create(only(trio, 0, 1)).outs

    def dead(*_args, **_more):
        raise Unreachable("node-1", "no route to host.", "Is it on?")

    trio.shells["node-1"].run = dead
    listing(monkeypatch, "node-0", "node-2")
    outs = provider.update("weights", outs, only(trio, 0, 2)).outs
    assert outs["aside"] == []
    assert records(trio, 1)


def test_destroy_waits_for_a_listed_one_and_tidies_the_others(trio, monkeypatch):
    provider = ModelWeightsProvider()
    outs = provider.create(only(trio, 0, 1)).outs
    real = trio.shells["node-0"].run

    def dead(*_args, **_more):
        raise Unreachable("node-0", "no route to host.", "Is it on?")

    trio.shells["node-0"].run = dead
    listing(monkeypatch, "node-0", "node-1")
    with pytest.raises(Unreachable, match="Take it out of nodes"):
        provider.delete("weights", outs)
    assert [records(trio, n) for n in range(2)] == [True, False]
    trio.shells["node-0"].run = real
    provider.delete("weights", outs)
    assert not records(trio, 0)
