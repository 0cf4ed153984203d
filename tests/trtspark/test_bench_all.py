"""Many models: what is skipped, what survives what, and that the stack's own model serves at the end."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.errors import ConfigError, NodeError, Unreachable
from tests import samples
from tests.trtspark.bench_samples import result, system_info
from trtspark.bench import matrix, switching
from trtspark.bench.many import Steps, Sweep
from trtspark.bench.plan import Wishes, workloads
from trtspark.bench.screen import Live
from trtspark.cli import app
from trtspark.commands.bench_all import chosen
from trtspark.project import Choice
from trtspark.terminal import err

ROOT = Path(__file__).parents[2]
OWN, A, B, GATED = (
    "openai/gpt-oss-120b",
    "openai/gpt-oss-20b",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
)


class FakeStack:
    name = "dgx"
    settings = samples.settings(2)
    connections = samples.connections(2)

    def endpoint(self):
        return "http://10.24.11.11:8355"


class World:
    """What was done to it, and what goes wrong."""

    def __init__(self):
        self.serves, self.done = OWN, []
        self.unfit, self.broken, self.bad = {}, {}, {}
        self.during = {}

    def steps(self):
        return Steps(self.judge, self.up, self.measure, self.restore)

    def judge(self, _stack, settings):
        return self.unfit.get(settings.model, "")

    def up(self, stack, model, single_node, _log):
        self.done.append(("up", model))
        self.serves = "?"
        self.during.get(model, lambda: None)()
        if model in self.broken:
            raise switching.SwitchFailed(self.broken[model])
        self.serves = model
        settings = switching.settings_for(stack.settings, model, single_node)
        return switching.Variant(stack.name, settings, {"readySeconds": 12.0}, stack.connections)

    def measure(self, served, *_):
        self.done.append(("measure", served.settings.model))
        if served.settings.model in self.bad:
            raise NodeError("spark-1", self.bad[served.settings.model], "")
        one = result(system=system_info())
        one.server.model = served.settings.model
        return one

    def restore(self, _stack, _log):
        self.done.append(("restore", OWN))
        self.serves = OWN


@pytest.fixture
def world():
    return World()


def sweep(world, tmp_path, **changes):
    [load] = workloads(Wishes("quick"))
    return Sweep(FakeStack(), load, tmp_path, Live(err), lambda _text: None, steps=world.steps(), **changes)


def todo(*models, **changes):
    values = {"started": "2026-11-24T01:02:03Z", "stack": "dgx", "profile": "quick", "single_node": False}
    return matrix.Matrix.model_validate({**values, "original": OWN, "models": list(models), **changes})


def statuses(found):
    return {row.model: row.status for row in found.results}


def test_every_model_is_served_measured_and_the_own_one_put_back(world, tmp_path):
    found = sweep(world, tmp_path).run(todo(A, B))
    assert world.done == [("up", A), ("measure", A), ("up", B), ("measure", B), ("restore", OWN)]
    assert statuses(found) == {A: "SUCCESS", B: "SUCCESS"}
    assert found.results[0].ready_s == 12.0
    assert (tmp_path / found.results[0].result).is_file()
    assert matrix.last(tmp_path, "dgx") == found
    assert found.restored


def test_failures_are_rows_and_the_next_model_is_tried(world, tmp_path):
    world.broken = {A: "waited 1800 s for x to answer", OWN: "the server crashed while loading"}
    world.bad = {B: "no answer."}
    found = sweep(world, tmp_path).run(todo(A, OWN, B))
    assert statuses(found) == {A: "API_TIMEOUT", OWN: "SWITCH_FAILED", B: "BENCH_FAILED"}
    assert world.serves == OWN
    assert "crashed" in found.results[1].reason


def test_what_does_not_fit_or_is_gated_is_skipped_with_its_reason(world, tmp_path):
    world.unfit = {A: "it does not fit: 130 of 100 GiB"}
    found = sweep(world, tmp_path, skip_token=True).run(todo(A, GATED))
    assert statuses(found) == {A: "SKIPPED", GATED: "SKIPPED"}
    assert "130 of 100 GiB" in found.results[0].reason
    assert world.done == []  # nothing was switched, so there is nothing to put back


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_after_putting_the_own_model_back(world, tmp_path, number):
    world.during = {A: lambda: os.kill(os.getpid(), number)}
    found = sweep(world, tmp_path).run(todo(A, B))
    assert statuses(found) == {A: "INTERRUPTED"}
    assert world.done == [("up", A), ("restore", OWN)]
    assert found.left == [A, B]


def test_it_goes_on_where_it_was(world, tmp_path):
    world.bad = {B: "no answer."}
    first = sweep(world, tmp_path).run(todo(A, B))
    world.bad, world.done = {}, []
    found = sweep(world, tmp_path).run(matrix.last(tmp_path, "dgx"))
    assert first.left == [B]
    assert world.done == [("up", B), ("measure", B), ("restore", OWN)]
    assert statuses(found) == {A: "SUCCESS", B: "SUCCESS"}


def test_an_unforeseen_error_still_puts_the_own_model_back(world, tmp_path):
    def explode():
        raise Unreachable("spark-2", "it does not answer.", "")

    one = sweep(world, tmp_path)
    one.steps.judge = lambda _stack, settings: explode() if settings.model == B else ""
    with pytest.raises(Unreachable):
        one.run(todo(A, B))
    assert world.serves == OWN
    assert matrix.last(tmp_path, "dgx").restored


def test_one_that_was_killed_is_known_to_have_left_another_model(world, tmp_path):
    seen = []
    world.during = {A: lambda: seen.append(matrix.last(tmp_path, "dgx").restored)}
    sweep(world, tmp_path).run(todo(A))
    assert seen == [False]


def test_an_own_model_that_does_not_come_back_is_an_error(world, tmp_path):
    one = sweep(world, tmp_path)

    def fail(*_):
        raise switching.SwitchFailed("the node is gone.")

    one.steps.restore = fail
    with pytest.raises(switching.SwitchFailed, match=f"{OWN} does not serve again: the node is gone"):
        one.run(todo(A))
    assert not matrix.last(tmp_path, "dgx").restored


def test_the_table_has_the_columns_people_read_already(world, tmp_path):
    world.unfit = {B: "too large"}
    found = sweep(world, tmp_path).run(todo(A, B))
    text = matrix.path(tmp_path, found).with_suffix(".csv").read_text()
    assert text.startswith("Model,TP,Output_TPS,Total_TPS,Mean_Latency_ms,P99_Latency_ms,Status,")
    first, second = csv.DictReader(io.StringIO(text))
    assert float(first["Output_TPS"]) == found.results[0].output_tps
    assert (second["Output_TPS"], second["Status"], second["Reason"]) == ("N/A", "SKIPPED", "too large")


def test_the_published_schema_is_the_programs():
    assert (ROOT / "docs/bench-matrix.schema.json").read_text() == matrix.schema()


def test_a_variant_keeps_the_stacks_words_and_drops_the_old_models():
    config = {
        f"{switching.PROJECT}:model": OWN,
        f"{switching.PROJECT}:revision": "v1",
        f"{switching.PROJECT}:tensorParallel": 2,
        f"{switching.PROJECT}:hfToken": {"secure": "v1:abc"},
        "other:key": 1,
    }
    content = {"encryptionsalt": "v1:salt", "config": config}
    made = switching.config_for(content, samples.settings(2), A, single_node=True)
    assert made["encryptionsalt"] == "v1:salt"
    assert made["config"] == {
        f"{switching.PROJECT}:model": A,
        f"{switching.PROJECT}:headOnly": True,
        f"{switching.PROJECT}:hfToken": {"secure": "v1:abc"},
        "other:key": 1,
    }
    assert content["config"][f"{switching.PROJECT}:model"] == OWN
    yaml.safe_dump(made)


def test_settings_of_a_variant():
    settings = samples.settings(2, revision="v1", tensorParallel=2)
    made = switching.settings_for(settings, A, single_node=True)
    assert (made.model, made.revision, len(made.active_nodes)) == (A, None, 1)
    assert switching.settings_for(settings, OWN, single_node=False).revision == "v1"


@pytest.mark.parametrize(
    ("text", "models"),
    [("1,openai/gpt-oss-20b,1", ["nvidia/Qwen3-235B-A22B-FP4", A]), (f"{B}", [B])],
)
def test_models_by_id_or_number(text, models):
    assert chosen(text) == models


@pytest.mark.parametrize(
    ("text", "said"), [("99", "a number from 1 to"), ("gpt", "a Hugging Face id"), (",", "empty")]
)
def test_wrong_models(text, said):
    with pytest.raises(ConfigError, match=said):
        chosen(text)


def test_a_dry_run_only_tells(world, tmp_path, monkeypatch):
    monkeypatch.setattr(Choice, "open", lambda _self: FakeStack())
    monkeypatch.setattr(Choice, "folder", lambda _self: tmp_path)
    monkeypatch.setattr(
        "trtspark.bench.many.judge", lambda _stack, settings: "too large" if settings.model == A else ""
    )
    done = CliRunner().invoke(app, ["bench", "--all", "--models", f"{A},{B}", "--dry-run"])
    assert done.exit_code == 0, done.exception
    assert "SKIPPED too large" in done.stdout
    assert "would run" in done.stdout
    assert not list(tmp_path.iterdir())


def test_resume_without_a_matrix_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Choice, "open", lambda _self: FakeStack())
    monkeypatch.setattr(Choice, "folder", lambda _self: tmp_path)
    done = CliRunner().invoke(app, ["bench", "--all", "--resume"])
    assert "has no matrix of stack dgx to go on with" in str(done.exception)
    done = CliRunner().invoke(app, ["bench", "--all", "--url", "http://x"])
    assert "leave the other options out" in str(done.exception)


def test_pulumis_own_last_words_are_not_the_cause():
    said = ["update failed", "error: rank 0 crashed while loading\n more", "other"]
    assert switching._cause(said, "") == "rank 0 crashed while loading"
    assert json.dumps(switching._cause([], "x\nerror: no passphrase\n")) == '"no passphrase"'
