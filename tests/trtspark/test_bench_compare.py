"""Comparisons: a difference that is there is found, one that is not there is not."""

from __future__ import annotations

import random

import pytest

from trtspark.bench.compare import compare, mean, percentile


def sample(seed: int, middle: float, count: int = 200) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(middle, middle * 0.1) for _ in range(count)]


def test_a_real_difference():
    found = compare("ttft", sample(1, 1.0), sample(2, 0.9))
    assert found.verdict == "faster"
    assert found.low < found.ratio < found.high < 1


def test_more_is_better_turns_the_verdict():
    assert compare("rate", sample(1, 10), sample(2, 12), less_is_better=False).verdict == "faster"
    assert compare("rate", sample(1, 12), sample(2, 10), less_is_better=False).verdict == "slower"


def test_two_runs_of_the_same_thing_rarely_differ():
    """At 95 % some do, by chance; a difference below 1 % is never called one."""
    verdicts = [
        compare("ttft", sample(seed, 1.0), sample(seed + 1000, 1.0), resamples=300).verdict
        for seed in range(60)
    ]
    assert verdicts.count("no difference seen") >= 52


def test_the_interval_holds_the_truth():
    hits = 0
    for seed in range(60):
        found = compare("x", sample(seed, 1.0), sample(seed + 500, 1.2), resamples=300)
        hits += found.low <= 1.2 <= found.high
    assert hits >= 50


def test_percentiles_too():
    assert compare("p99", sample(1, 1.0), sample(2, 2.0), percentile(0.99)).verdict == "slower"


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 4])
def test_too_few_say_nothing(values):
    assert compare("x", values, sample(1, 1.0), mean).verdict == "too few requests"


def test_the_same_answer_each_time():
    assert compare("x", sample(1, 1), sample(2, 1)) == compare("x", sample(1, 1), sample(2, 1))
