"""`trtspark models`: what is set, what is kept, what is refused; the nodes and Pulumi are played."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cluster.errors import ConfigError
from remote.preflight import Examination
from tests import samples
from trtspark import nodes, shelf, writing
from trtspark.cli import app
from trtspark.commands import models
from trtspark.project import Choice

CURRENT, OTHER = "openai/gpt-oss-120b", "openai/gpt-oss-20b"
WHOLE = {"bytes": 13_800_000_000, "shared": 0, "commit": "a" * 40, "problems": []}


class FakeStack:
    def __init__(self, folder, **changes):
        self.name, self.folder = "dgx", folder
        self.settings = samples.settings(2, **changes)
        self.connections = samples.connections(2)
        self.outputs = {"model": CURRENT}
        self.set = {}

    def raw(self, key):
        trust = self.settings.trust_remote_code
        return {"model": self.settings.model, "revision": self.settings.revision, "trustRemoteCode": trust}[
            key
        ]


@pytest.fixture
def stack(monkeypatch, tmp_path):
    one = FakeStack(tmp_path)
    monkeypatch.setattr(Choice, "open", lambda _self: one)
    monkeypatch.setattr(writing, "write", lambda stack, todo: stack.set.update(todo))
    one.caches = [{CURRENT: WHOLE, OTHER: WHOLE}, {CURRENT: WHOLE}]
    one.pruned = []

    def every(connections, _module, entry, args, **_more):
        if entry == "prune":
            one.pruned.append((connections[0].host, args["models"]))
            return [{"removed": args["models"], "bytes": 1}]
        return [{"models": cache} for cache in one.caches]

    monkeypatch.setattr(nodes, "every", every)
    look = Examination(tuple(samples.facts(2)), (), (), ())
    monkeypatch.setattr("remote.preflight.examine", lambda *_words: look)
    return one


def run(*words, **more):
    return CliRunner().invoke(app, ["models", *words], **more)


def test_the_list_and_json_say_the_same(stack):
    rows = json.loads(run("list", "--json").stdout)
    text = run().stdout
    assert all(row["id"] in text for row in rows)
    found = next(row for row in rows if row["id"] == OTHER)
    assert (found["cached"], found["licence"], found["nodesNeeded"]) == (
        {"10.24.11.11": 1.0, "10.24.11.12": 0.0}, "Apache-2.0", 1,
    )  # fmt: skip


def test_show_has_everything_of_one_even_of_none_of_ours(stack):
    text = run("show", "meta-llama/Llama-3.1-8B-Instruct").stdout
    assert "Llama 3.1 Community, gated" in text
    assert "not known" in run("show", "some/body").stdout


def test_the_image_is_judged_for_every_model(stack):
    """By its tag, for as many ranks as are configured: 1.3.0rc5 serves all but what it does not know."""
    stack.settings = samples.settings(2, image="nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5")
    gemma = "google/gemma-2-27b-it"
    found = {row["id"]: row["image"] for row in json.loads(run("list", "--json").stdout)}
    assert (found[CURRENT]["verdict"], found[gemma]["verdict"]) == ("ok", "refuse")
    assert "refused" in run().stdout
    text = run("show", gemma).stdout
    assert "Image      refused. The PyTorch backend does not know this architecture." in text
    stack.settings = samples.settings(2, image="example.com/mine:7")
    assert "Image      nothing is known of it." in run("show", gemma).stdout


def test_use_sets_the_model_and_drops_the_others_revision(stack):
    stack.settings = samples.settings(2, revision="v1")
    done = run("use", OTHER, "--config-only")
    assert done.exit_code == 0
    assert stack.set == {"model": OTHER, "revision": None}
    assert done.stdout == "pulumi up --stack dgx\n"


def test_use_does_not_trust_the_code_of_the_new_model_too(stack):
    stack.settings = samples.settings(2, trustRemoteCode=True, maxSeqLen=4096)
    done = run("use", OTHER, "--config-only")
    assert stack.set == {"model": OTHER, "trustRemoteCode": None}
    assert "maxSeqLen" in done.stderr  # a limit of the service: it stays, and is named
    stack.set.clear()
    run("use", CURRENT, "--config-only")
    assert stack.set == {}


def test_use_by_number(stack):
    run("use", "3", "--config-only")
    assert stack.set == {"model": OTHER}


def test_use_without_a_terminal_wants_a_yes_before_anything_is_set(stack):
    done = run("use", OTHER)
    assert isinstance(done.exception, ConfigError)
    assert not stack.set


def test_a_failed_up_says_how_to_go_back(stack, monkeypatch):
    monkeypatch.setattr(models.subprocess, "run", lambda *_w, **_k: type("R", (), {"returncode": 255})())
    done = run("use", OTHER, "--yes")
    assert done.exit_code == 1
    assert f"trtspark models use {CURRENT} --config-only" in done.stderr.replace("\n", " ")


def test_prune_lists_and_asks_and_keeps_what_is_in_use(stack):
    asked = run("prune")
    assert asked.exit_code == 1
    assert OTHER in asked.stdout
    assert CURRENT not in asked.stdout
    assert not stack.pruned
    assert run("prune", "--yes").exit_code == 0
    assert stack.pruned == [("10.24.11.11", [OTHER])]


def test_prune_refuses_the_deployed_model_though_another_is_configured(stack):
    stack.settings = samples.settings(2, model=OTHER)
    for model in (CURRENT, OTHER):
        done = run("prune", model, "--yes")
        assert "is in use" in str(done.exception)
    assert "nothing to remove" in run("prune", "--yes").stderr
    assert not stack.pruned


def test_a_number_that_is_not_there(stack):
    assert "1 to" in str(run("use", "99", "--config-only").exception)


def test_completion_is_the_catalogs():
    assert models.completed("OPENAI/") == [CURRENT, OTHER]


def test_narrow_rows_count_nodes(stack):
    found = shelf.rows(stack.settings, "dgx", (), {"a": {OTHER: WHOLE}, "b": {}})
    assert next(row for row in found if row.model.id == OTHER).cached == "1/2"
