"""The model as a run settles it: whom it asks, in which order, and what it refuses. With the lab's Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.errors import PlanError, TrtSparkError
from cluster.hub_files import Resolved
from cluster.resolution import Found, HubError
from lab import models
from lab.hub import server
from remote import model, shapes
from remote.hub import Hub, Token
from remote.node import hub_cache, model_shape
from remote.ssh import Result
from tests import samples

GATED = "meta-llama/Llama-3.1-8B-Instruct"
EMPTY = {"commit": None, "files": {}, "problems": [], "blobs": {}}


@pytest.fixture(scope="module")
def _served() -> Iterator[server.Hub]:
    with server.Hub() as found:
        yield found


@pytest.fixture
def lab(_served, monkeypatch) -> server.Hub:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    _served.faults.clear()
    _served.requests.clear()
    return _served


class Head:
    """The head: runs the node's program on a cache in a folder of this machine."""

    def __init__(self) -> None:
        self.asked = 0

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        self.asked += 1
        assert "model_shape" in stdin
        arguments = json.loads(command.split("- ", 1)[1].strip("'"))["model_shape"]
        return Result(0, json.dumps({"model_shape": model_shape.look(arguments)}), "")

    def close(self) -> None:
        pass


def cache_of(name: str, folder: Any) -> dict[str, Any]:
    """A node's cache with the lab's model in it, and hub_cache's answer about it."""
    found = models.find(name)
    assert found is not None
    models._write_model(folder / "hub" / f"models--{name.replace('/', '--')}", found)
    return hub_cache.look({"hf_cache": str(folder), "model": name})


def run(lab: server.Hub, caches: list[dict[str, Any]], head: Head | None = None, **changes: Any) -> Found:
    """One run's resolution; `token` in `changes` is the token that is sent."""
    token = Token(changes.pop("token", None), "hfToken")
    settings = samples.settings(len(caches), **changes)

    def hub_of(_settings: Any) -> Hub:
        return Hub(lab.url, token)

    nodes = [f"spark-{number}" for number in range(1, len(caches) + 1)]
    answer = model.ask(settings, hub_of)
    return model.settle(settings, answer, nodes, caches, lambda: head or Head(), hub_of)


def test_nothing_is_there_yet(lab):
    found = run(lab, [samples.cache(**EMPTY)] * 2, model="nvidia/Qwen3-8B-FP4")
    assert found.model is not None
    assert (found.model.shape.quantisation, found.model.shape.kv_bytes) == ("NVFP4", 1)
    assert found.why == ""
    assert len(lab.requests) > 1


def test_everything_is_there_and_known_is_one_request(lab, tmp_path):
    name, head = "openai/gpt-oss-20b", Head()
    cache = cache_of(name, tmp_path)
    first = run(lab, [cache], head, model=name, hfCache=str(tmp_path))
    assert (len(lab.requests), head.asked) == (1, 1), "the head's own files tell the rest"
    lab.requests.clear()
    again = run(lab, [cache], head, model=name, hfCache=str(tmp_path))
    assert (len(lab.requests), head.asked) == (1, 1), "and this machine remembers it"
    assert first == again
    assert first.commit == cache["commit"]


def test_the_node_and_the_hub_tell_the_same_shape(lab, tmp_path):
    name = "mistralai/Mixtral-8x7B-Instruct-v0.1"
    cache = cache_of(name, tmp_path)
    resolved = Hub(lab.url, Token(None, "")).resolve(name, None, False).files
    here = shapes.on_node(Head(), str(tmp_path), resolved)
    assert here is not None
    assert here == Hub(lab.url, Token(None, "")).shape(resolved)
    assert cache["commit"] == resolved.commit


def test_gated_is_asked_only_when_something_is_to_be_fetched(lab, tmp_path):
    cache = cache_of(GATED, tmp_path)
    assert run(lab, [cache], model=GATED, hfCache=str(tmp_path)).resolved.gated
    with pytest.raises(HubError, match="is gated and there is no token"):
        run(lab, [cache, samples.cache(**EMPTY)], model=GATED, hfCache=str(tmp_path))
    with pytest.raises(HubError, match="has no access to"):
        run(lab, [samples.cache(**EMPTY)], model=GATED, token=lab.tokens.newcomer)
    assert run(lab, [samples.cache(**EMPTY)], model=GATED, token=lab.tokens.granted).model


def test_a_wrong_token_stops_even_when_all_is_there(lab, tmp_path):
    name = "openai/gpt-oss-20b"
    with pytest.raises(HubError, match="does not accept the token of hfToken"):
        run(lab, [cache_of(name, tmp_path)], model=name, token="hf_wrong")


def test_a_hub_in_trouble_and_all_is_there(lab, tmp_path):
    name = "openai/gpt-oss-20b"
    lab.faults.add({"kind": "status", "status": 503, "place": "api"})
    cache = cache_of(name, tmp_path)
    found = run(lab, [cache], model=name, hfCache=str(tmp_path))
    assert found.why.endswith("failed with HTTP 503.")
    assert found.commit == cache["commit"]
    assert found.model is not None
    assert all(file.digest for file in found.resolved.files.files)


def test_a_pinned_commit_is_found_in_the_cache_without_the_hub(lab, tmp_path, monkeypatch):
    name = "openai/gpt-oss-20b"
    commit = cache_of(name, tmp_path)["commit"]
    (tmp_path / "hub" / "models--openai--gpt-oss-20b" / "refs" / "main").write_text("f" * 40)
    pinned = hub_cache.look({"hf_cache": str(tmp_path), "model": name, "revision": commit})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(lab, [pinned], model=name, revision=commit, hfCache=str(tmp_path)).commit == commit
    assert not lab.requests


def test_headers_that_cannot_be_read_now_are_no_reason_to_stop(lab):
    lab.faults.add({"kind": "status", "status": 503, "place": "resolve"})
    found = run(lab, [samples.cache(**EMPTY)], model="nvidia/Qwen3-8B-FP4")
    assert found.model is None
    assert found.resolved.files.files


def test_download_weights_false_asks_nobody(lab, tmp_path):
    name, cache = "openai/gpt-oss-20b", cache_of("openai/gpt-oss-20b", tmp_path)
    found = run(lab, [cache], model=name, hfCache=str(tmp_path), downloadWeights=False)
    assert found.why == "The Hub is not asked, as downloadWeights is false."
    assert not lab.requests


def test_a_repository_that_cannot_be_loaded_is_no_reason_to_look_elsewhere(lab):
    class Diffusers(Hub):
        def resolve(self, model: str, revision: str | None, trust_remote_code: bool) -> Resolved:
            raise PlanError(f"{model} has no weights.")

    with pytest.raises(TrtSparkError, match="has no weights"):
        model.ask(samples.settings(1), lambda _settings: Diffusers(lab.url, Token(None, "")))


def test_a_node_that_cannot_tell_its_shape(tmp_path):
    arguments = {"hf_cache": str(tmp_path), "model": "org/model", "commit": "f" * 40}
    assert model_shape.look(arguments) is None
    cache_of("openai/gpt-oss-20b", tmp_path)
    [snapshot] = (tmp_path / "hub" / "models--openai--gpt-oss-20b" / "snapshots").iterdir()
    shard = next(snapshot.glob("*.safetensors"))
    shard.unlink()
    shard.write_bytes(b"\xff" * 100)
    asked = {"hf_cache": str(tmp_path), "model": "openai/gpt-oss-20b", "commit": snapshot.name}
    assert model_shape.look(asked) is None
