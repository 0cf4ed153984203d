"""`trtspark bench`: the whole command against a server of known behaviour."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.errors import ConfigError, NotReady, TrtSparkError
from tests.trtspark.sse_server import Behaviour, apart, threaded
from trtspark.bench import plan, results, server
from trtspark.cli import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def bench(*words: str, ok: bool = True):
    done = CliRunner().invoke(app, ["bench", *words])
    assert not ok or done.exit_code == 0, (done.output, done.exception)
    return done


def test_a_url_is_all_it_needs(tmp_path):
    with threaded(Behaviour(first=0.02, gap=0.002, obey=True)) as one:
        done = bench("quick", "--url", one.url, "-o", "16")
    [path] = results.found(tmp_path / ".bench")
    result = results.read(path)
    assert result.figures.completed == 10
    assert result.figures.output_tokens == 160
    assert result.workload.profile == "custom"
    assert result.server.model == "m"
    assert result.complete
    assert not result.tokenizer.exact
    assert "approximated" in done.stdout
    assert f"{result.figures.output_tokens_per_s:,.1f}" in done.stdout
    assert "\x1b[" not in done.stdout  # no terminal, no colours


def test_without_a_command_word_it_runs_the_profile_quick(tmp_path):
    with threaded(Behaviour(first=0.001, gap=0.001, tokens=3)) as one:
        bench("--url", one.url)
        bench("run", "latency", "-n", "2", "--url", one.url)
    assert [results.read(p).workload.requests for p in results.found(tmp_path / ".bench")] == [10, 2]


def test_a_sweep_is_a_run_per_concurrency_with_one_name(tmp_path):
    with threaded(Behaviour(first=0.005, gap=0.001, tokens=3)) as one:
        done = bench("quick", "--url", one.url, "-c", "1,4", "-n", "8")
    found = [results.read(path) for path in results.found(tmp_path / ".bench")]
    assert sorted(result.workload.concurrency for result in found) == [1, 4]
    assert len({result.sweep for result in found}) == 1
    assert "at once" in done.stdout


def test_what_a_server_does_not_know_is_left_out_and_said(tmp_path):
    with threaded(Behaviour(first=0.001, gap=0.001, tokens=3, refuse=("ignore_eos",))) as one:
        done = bench("--url", one.url, "-n", "3")
        assert "ignore_eos" not in one.bodies[-1]
        assert one.bodies[-1]["stream_options"] == {"include_usage": True}
    assert "does not know ignore_eos" in done.stdout
    [path] = results.found(tmp_path / ".bench")
    assert results.read(path).workload.left_out == ["ignore_eos"]


def test_warm_up_has_other_prompts_and_is_in_no_figure(tmp_path):
    with threaded(Behaviour(first=0.001, gap=0.001, tokens=3)) as one:
        bench("--url", one.url, "-n", "3", "--warmup", "2", "-c", "1")
        texts = [body["messages"][0]["content"] for body in one.bodies]
    assert len(texts) == 1 + 2 + 3  # the question what it takes, the warm-up, the run
    assert len(set(texts[1:])) == 5
    [path] = results.found(tmp_path / ".bench")
    assert results.read(path).figures.completed == 3


def test_the_open_loop_and_the_clock(tmp_path):
    with threaded(Behaviour(first=0.01, gap=0.001, tokens=3)) as one:
        bench("--url", one.url, "--rate", "20", "--duration", "1")
    [path] = results.found(tmp_path / ".bench")
    found = results.read(path)
    assert 5 <= found.figures.completed <= 45
    assert found.workload.rate_per_s == 20


def test_failures_are_counted_and_all_of_them_is_an_error(tmp_path):
    how = Behaviour(first=0.001, gap=0.001, tokens=3, fault="busy", faulty=lambda number: number > 0)
    with threaded(how) as one:
        done = bench("--url", one.url, "-n", "4", "--warmup", "0", ok=False)
    assert done.exit_code == 1
    assert "4 x http 429" in done.stdout
    assert isinstance(done.exception, TrtSparkError)


def test_json_is_one_line_a_run_and_nothing_else():
    with threaded(Behaviour(first=0.001, gap=0.001, tokens=3)) as one:
        done = bench("--url", one.url, "-n", "2", "-c", "1,2", "--json")
    assert [json.loads(line)["workload"]["concurrency"] for line in done.stdout.splitlines()] == [1, 2]


def test_goodput_under_a_service_level():
    with threaded(Behaviour(first=0.05, gap=0.001, tokens=3)) as one:
        done = bench("--url", one.url, "-n", "2", "--slo", "ttft=1ms")
    assert "Goodput   0.00 requests/s within ttft ≤ 1.0 ms (0% of requests)" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["swift"], "there is no profile 'swift'"),
        (["--slo", "fast"], "it may be like ttft=2s"),
        (["-c", "0"], "--concurrency: found '0'"),
        (["--rate", "2", "-c", "1,2"], "--rate is an open loop"),
        (["--dataset", "none.jsonl"], "none.jsonl cannot be read"),
        (["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["--model", "other"], "serves m, not other"),
        (["--tokenizer", "none.json"], "none.json"),
        (["-c", "1,2", "--output", "a.json"], "is one file"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_asked(words, said):
    with threaded(Behaviour()) as one:
        done = bench(*words, "--url", one.url, ok=False)
        assert not one.bodies
    assert done.exit_code == 1
    assert said in str(done.exception)


def test_nobody_there():
    done = bench("--url", "http://127.0.0.1:9", ok=False)
    assert isinstance(done.exception, NotReady)
    assert "does not answer (no connection)" in str(done.exception)


def test_a_url_with_a_password_is_refused():
    with pytest.raises(ConfigError, match="holds a name or password"):
        server.target("http://me:secret@host:1")


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "mine.json").write_text("mine")
    done = bench("--url", "http://127.0.0.1:9", "--output", "mine.json", ok=False)
    assert "is there already" in str(done.exception)
    assert (tmp_path / "mine.json").read_text() == "mine"


def test_ctrl_c_gives_the_partial_result_marked(tmp_path):
    with apart(Behaviour(first=0.05, gap=0.01, tokens=20)) as url:
        words = ["-m", "trtspark", "bench", "--url", url, "-n", "10000", "-c", "2", "--warmup", "0"]
        process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Partial result" in out
    assert "waiting for those that run" in err
    [path] = results.found(tmp_path / ".bench")
    found = results.read(path)
    assert not found.complete
    assert found.figures.completed > 0
    assert found.figures.failed == 0


def test_plan_keeps_the_profiles_name_where_nothing_is_changed():
    [load] = plan.workloads(plan.Wishes("latency"))
    assert (load.profile, load.requests, load.concurrency) == ("latency", 100, 1)
    loads = plan.workloads(plan.Wishes("quick", concurrency=[1, 2]))
    assert [load.profile for load in loads] == ["quick", "quick"]


@pytest.mark.parametrize("text", ["", "a", "1,", "0", "1,-2", "99999999"])
def test_wrong_concurrencies(text):
    with pytest.raises(ConfigError, match="a list like 1,4,16"):
        plan.concurrencies(text)
