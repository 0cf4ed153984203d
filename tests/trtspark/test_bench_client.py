"""The benchmark's client against a server of known timing and known faults."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import uvloop

from tests.trtspark.sse_server import Behaviour, serving
from trtspark.bench import measure
from trtspark.bench.load import Load, Run, arrivals, drive
from trtspark.bench.stream import Answer, Target

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}


def run(how: Behaviour, load: Load, stop_after: float | None = None) -> Run:
    async def go() -> Run:
        async with serving(how) as server:
            stop = asyncio.Event()
            if stop_after is not None:
                asyncio.get_running_loop().call_later(stop_after, stop.set)
            return await drive(Target(server.url), [BODY], load, stop=stop)

    return uvloop.run(go())


def test_times_are_the_servers_own_times():
    how = Behaviour(first=0.1, gap=0.02, tokens=10)
    found = measure.figures(run(how, Load(8, 4)))
    assert found["completed"] == 8
    assert found["ttft_s"]["p50"] == pytest.approx(0.1, abs=0.03)
    assert found["itl_s"]["mean"] == pytest.approx(0.02, abs=0.005)
    assert found["tpot_s"]["mean"] == pytest.approx(0.02, abs=0.005)
    assert found["e2e_s"]["p50"] == pytest.approx(0.1 + 9 * 0.02, abs=0.05)
    assert found["output_tokens"] == 80
    assert found["prompt_tokens"] == 56


def test_the_first_token_is_the_first_with_words_in_it():
    """The role's piece comes at once; it is no token."""
    answer = run(Behaviour(first=0.2, tokens=3), Load(1, 1)).answers[0]
    assert len(answer.tokens) == 3
    assert (answer.tokens[0] - answer.started) / 1e9 > 0.19  # timers of a loop may be a millisecond early


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_closed_loop_has_so_many_at_once(concurrency):
    how = Behaviour(first=0.01, gap=0.002, tokens=5)
    assert len(run(how, Load(20, concurrency)).answers) == 20
    assert how.most_at_once == concurrency


def test_an_open_loop_starts_on_time_whatever_the_server_does():
    how = Behaviour(first=0.5, gap=0.001, tokens=2)
    load = Load(20, 64, rate=100, seed=3)
    found = run(how, load)
    due = list(arrivals(load))
    real = [(answer.started - found.began) / 1e9 for answer in found.answers]
    assert real == pytest.approx(due, abs=0.1)
    assert how.most_at_once == 20


def test_arrivals_are_the_same_for_the_same_seed_and_of_the_rate():
    load = Load(4000, 1, rate=50, seed=1)
    assert list(arrivals(load)) == list(arrivals(load))
    times = list(arrivals(load))
    assert 4000 / times[-1] == pytest.approx(50, rel=0.1)
    steps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(steps) / len(steps)
    variance = sum((s - mean) ** 2 for s in steps) / len(steps)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)  # of an exponential distribution


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("busy", "http 429"), ("cut", "cut"), ("error", "server"), ("hang", "timeout")],
)
def test_faults_are_counted_by_kind_and_never_averaged_in(fault, kind):
    how = Behaviour(first=0.01, gap=0.001, tokens=4, fault=fault, faulty=lambda number: number % 2)
    found = measure.figures(run(how, Load(6, 1, timeout=0.5)))
    assert found["errors"] == {kind: 3}
    assert (found["completed"], found["failed"]) == (3, 3)
    assert found["ttft_s"]["count"] == 3
    assert found["output_tokens"] == 12


def test_nobody_there_raises_before_anything_is_measured():
    with pytest.raises(OSError, match="Connect"):
        asyncio.run(drive(Target("http://127.0.0.1:9"), [BODY], Load(1, 1)))


def test_a_duration_ends_a_run():
    how = Behaviour(first=0.02, gap=0.001, tokens=2)
    found = run(how, Load(100_000, 2, duration=0.5))
    assert 4 <= len(found.answers) < 1000


def test_asked_to_stop_it_finishes_what_runs():
    found = run(Behaviour(first=0.05, gap=0.001, tokens=2), Load(1000, 2), stop_after=0.3)
    assert found.interrupted
    assert all(measure.good(answer) for answer in found.answers)
    assert "interrupted" in " ".join(measure.figures(found)["notes"])


def test_pieces_of_several_tokens_are_said():
    found = measure.figures(run(Behaviour(tokens=20, per_piece=4, gap=0.001), Load(2, 1)))
    assert "10 pieces for 40 tokens" in " ".join(found["notes"])


def test_without_usage_the_pieces_are_counted_and_it_is_said():
    found = measure.figures(run(Behaviour(tokens=5, usage=False, gap=0.001), Load(2, 1)))
    assert found["output_tokens"] == 10
    assert "no usage" in " ".join(found["notes"])


def test_connections_are_used_again():
    how = Behaviour(first=0, gap=0, tokens=1)
    assert len(run(how, Load(50, 2)).answers) == 50
    assert how.connections == 2


def test_goodput_counts_what_meets_every_bound():
    slo = measure.parse_slo("ttft=60ms,tpot=1s")
    how = Behaviour(first=0.02, gap=0.001, tokens=3)
    found = measure.figures(run(how, Load(4, 1)), slo)
    assert found["slo_met"] == 1.0
    assert found["goodput_per_s"] == pytest.approx(found["requests_per_s"])
    strict = measure.figures(run(Behaviour(first=0.2, tokens=2), Load(2, 1)), slo)
    assert strict["slo_met"] == 0.0


@pytest.mark.parametrize("text", ["", "ttft", "ttft=0s", "ttft=1s,ttft=2s", "speed=3s", "tpot=fast"])
def test_a_wrong_slo_is_refused_with_what_it_may_be(text):
    with pytest.raises(ValueError, match="it may be like ttft=2s"):
        measure.parse_slo(text)


def test_quantiles_are_those_of_numpys_default():
    ordered = [1.0, 2.0, 4.0, 8.0]
    assert [measure.quantile(ordered, q) for q in (0, 0.25, 0.5, 0.9, 1)] == [
        1,
        1.75,
        3,
        pytest.approx(6.8),
        8,
    ]


def test_nothing_to_measure_is_no_figure():
    found = measure.figures(Run(Load(1, 1), [Answer(started=1, ended=2, error="timeout")], began=1, ended=2))
    assert found["ttft_s"] is None
    assert found["errors"] == {"timeout": 1}
