"""Comparisons: a difference that is there is found, one that is not there is not."""

from __future__ import annotations

import json
import random

import pytest
from typer.testing import CliRunner

from tests.trtspark.bench_samples import result
from trtspark.bench import comparison, results
from trtspark.bench.compare import compare, mean, percentile
from trtspark.cli import app


def sample(seed: int, middle: float, count: int = 200) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(middle, middle * 0.1) for _ in range(count)]


def test_a_real_difference():
    found = compare("ttft", sample(1, 1.0), sample(2, 0.9), mean)
    assert found.verdict == "faster"
    assert found.low < found.ratio < found.high < 1


def test_more_is_better_turns_the_verdict():
    assert compare("rate", sample(1, 10), sample(2, 12), mean, less_is_better=False).verdict == "faster"
    assert compare("rate", sample(1, 12), sample(2, 10), mean, less_is_better=False).verdict == "slower"


def test_two_runs_of_the_same_thing_rarely_differ():
    """At 95 % some do, by chance; a difference below 1 % is never called one."""
    verdicts = [
        compare("ttft", sample(seed, 1.0), sample(seed + 1000, 1.0), mean, resamples=300).verdict
        for seed in range(60)
    ]
    assert verdicts.count("no difference seen") >= 52


def test_the_interval_holds_the_truth():
    hits = 0
    for seed in range(60):
        found = compare("x", sample(seed, 1.0), sample(seed + 500, 1.2), mean, resamples=300)
        hits += found.low <= 1.2 <= found.high
    assert hits >= 50


def test_percentiles_too():
    assert compare("p99", sample(1, 1.0), sample(2, 2.0), percentile(0.99)).verdict == "slower"


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 4])
def test_too_few_say_nothing(values):
    assert compare("x", values, sample(1, 1.0), mean).verdict == "too few requests"


def test_the_same_answer_each_time():
    one, again = (compare("x", sample(1, 1), sample(2, 1), mean) for _ in range(2))
    assert one == again


def written(tmp_path, **runs):
    return [str(results.write(one, tmp_path, f"{name}.json")) for name, one in runs.items()]


def test_the_command_says_faster_slower_or_none(tmp_path):
    a, b, c = written(
        tmp_path,
        a=result(requests=200),
        b=result(requests=200, seed=5, slower=0.8),
        c=result(requests=200, seed=9),
    )
    for words, said in (((a, b), "B is faster"), ((b, a), "B is slower"), ((a, c), "no difference seen")):
        done = CliRunner().invoke(app, ["bench", "compare", *words])
        assert done.exit_code == 0, done.output
        assert said in done.stdout
        assert "output tokens/s" in done.stdout


def test_json_of_a_comparison(tmp_path):
    a, b = written(tmp_path, a=result(), b=result(requests=3))
    document = json.loads(CliRunner().invoke(app, ["bench", "compare", a, b, "--json"]).stdout)
    assert document["verdict"] == "too few requests"
    assert document["figures"][0]["low"] is None
    assert "b" in document["figures"][0]


def test_throughput_shown_is_the_runs_own_and_lies_in_its_interval():
    a, b = result(requests=100), result(requests=100, slower=1.3, seed=3)
    [head, *_] = comparison.sides(a, b).figures
    assert (head.a, head.b) == (a.figures.output_tokens_per_s, b.figures.output_tokens_per_s)
    assert head.low < head.ratio < head.high < 1
    assert head.verdict == "slower"


def test_what_makes_runs_hard_to_compare_is_said():
    a, b = result(), result(concurrency=8, complete=False)
    said = comparison.sides(a, b).caveats
    assert "different requests at once: 4 and 8" in said
    assert "B was interrupted" in said


def test_open_loops_have_no_throughput_of_their_own():
    open_loop = result().workload.model_copy(update={"rate_per_s": 2.0})
    found = comparison.sides(result(workload=open_loop), result(workload=open_loop))
    assert comparison.THROUGHPUT not in [one.name for one in found.figures]
    assert found.headline.startswith("no difference seen")


def test_a_file_that_is_none_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["bench", "compare", str(tmp_path / "a.json"), "b.json"])
    assert done.exit_code == 1
    assert "a.json cannot be read" in str(done.exception)
