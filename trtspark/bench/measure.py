"""From stamps to figures. Every definition, with its formula and who else uses it, is in docs/benchmark.md.

All durations in seconds, rates per second. Warm-up and failed requests are in no average: failures are
counted by kind, and warm-up is a run of its own that is thrown away.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from trtspark.bench.load import Run
from trtspark.bench.results import Distribution
from trtspark.bench.stream import Answer

PERCENTILES = (50, 90, 95, 99)
#: A client whose loop is later than this, at its p99, has put itself into the figures.
LAG_LIMIT_S = 0.010
#: So has one that is busy for more than this share of a core.
CPU_LIMIT = 0.9
#: The pieces of a stream and the tokens of `usage` may differ by so much before it is worth a word.
PIECES_TOLERANCE = 0.02


@dataclass(frozen=True)
class Request:
    """One good request's own figures. `tpot` needs two tokens."""

    start: float
    ttft: float
    e2e: float
    tpot: float | None
    prompt_tokens: int
    output_tokens: int
    pieces: int
    finish_reason: str


@dataclass(frozen=True)
class Slo:
    """A service level: upper bounds in seconds; None where there is none."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def met(self, request: Request) -> bool:
        """Whether the request is within every bound."""
        pairs = ((self.ttft, request.ttft), (self.tpot, request.tpot), (self.e2e, request.e2e))
        return all(bound is None or found is None or found <= bound for bound, found in pairs)


def parse_slo(text: str) -> Slo:
    """`ttft=2s,tpot=50ms,e2e=30s`. Raises ValueError that says what it may be."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        scale = 1e-3 if value.endswith("ms") else 1.0
        number = value.removesuffix("ms").removesuffix("s")
        try:
            seconds = float(number) * scale
        except ValueError:
            seconds = -1.0
        if name not in ("ttft", "tpot", "e2e") or name in found or seconds <= 0:
            raise ValueError(f"{text!r}: found {part.strip()!r}; it may be like ttft=2s,tpot=50ms,e2e=30s")
        found[name] = seconds
    return Slo(**found)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest ranks, as numpy's default; `ordered` is sorted and not empty."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(values: Iterable[float]) -> Distribution | None:
    """None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p90, p95, p99 = (quantile(ordered, p / 100) for p in PERCENTILES)
    mean = math.fsum(ordered) / len(ordered)
    return Distribution(
        mean=mean, p50=p50, p90=p90, p95=p95, p99=p99, min=ordered[0], max=ordered[-1], count=len(ordered)
    )


def good(answer: Answer) -> bool:
    """Answered to its end, with at least one token."""
    return not answer.error and len(answer.tokens) > 0


def request(answer: Answer, began: int) -> Request:
    """The figures of one good answer; `began` is the run's start."""
    first, last = answer.tokens[0], answer.tokens[-1]
    output = answer.output_tokens or len(answer.tokens)
    return Request(
        start=(answer.started - began) / 1e9,
        ttft=(first - answer.started) / 1e9,
        e2e=(last - answer.started) / 1e9,
        tpot=(last - first) / 1e9 / (output - 1) if output > 1 else None,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=output,
        pieces=len(answer.tokens),
        finish_reason=answer.finish_reason,
    )


def gaps(answers: Iterable[Answer]) -> array[float]:
    """Seconds between neighbouring tokens of one answer, of all of them together."""
    found = array("d")
    for answer in answers:
        found.extend((later - earlier) / 1e9 for earlier, later in pairwise(answer.tokens))
    return found


def figures(run: Run, slo: Slo | None = None) -> dict[str, Any]:
    """Everything of a run that goes into its result, as plain data.

    The span of throughput is from the first request's start to the last token of the last good answer.
    """
    answers = [answer for answer in run.answers if good(answer)]
    requests = [request(answer, run.began) for answer in answers]
    errors = Counter(kind(answer) for answer in run.answers if not good(answer))
    began = min((answer.started for answer in run.answers if answer.started), default=run.began)
    ended = max((answer.tokens[-1] for answer in answers), default=run.ended)
    seconds = max((ended - began) / 1e9, 1e-9)
    output, prompt = sum(r.output_tokens for r in requests), sum(r.prompt_tokens for r in requests)
    found = {
        "duration_s": seconds,
        "completed": len(requests),
        "failed": sum(errors.values()),
        "errors": dict(sorted(errors.items())),
        "prompt_tokens": prompt,
        "output_tokens": output,
        "requests_per_s": len(requests) / seconds,
        "output_tokens_per_s": output / seconds,
        "total_tokens_per_s": (output + prompt) / seconds,
        "ttft_s": _plain(spread(r.ttft for r in requests)),
        "itl_s": _plain(spread(gaps(answers))),
        "tpot_s": _plain(spread(r.tpot for r in requests if r.tpot is not None)),
        "e2e_s": _plain(spread(r.e2e for r in requests)),
        "user_tokens_per_s": _plain(spread(1 / r.tpot for r in requests if r.tpot)),
        "client": client(run),
        "notes": notes(run, requests),
    }
    if slo is not None:
        met = sum(slo.met(r) for r in requests)
        found["slo"] = {name: bound for name, bound in asdict(slo).items() if bound is not None}
        found["goodput_per_s"] = met / seconds
        found["slo_met"] = met / len(run.answers) if run.answers else 0.0
    return found


def kind(answer: Answer) -> str:
    """An answer without an error and without a token is an error too."""
    return answer.error or "empty"


def client(run: Run) -> dict[str, Any]:
    """The client's own part: how late its loop was, how busy, how much memory (bytes)."""
    wall = max(run.ended - run.began, 1)
    lag = spread(late / 1e6 for late in run.lags)
    late = spread(each / 1e6 for each in run.late)
    busy = run.cpu_ns / wall
    return {
        "lag_s": _plain(lag),
        "late_starts_s": _plain(late),
        "cpu_cores": busy,
        "peak_memory_bytes": run.peak_rss,
        "bottleneck": busy > CPU_LIMIT or (lag is not None and lag.p99 > LAG_LIMIT_S),
    }


def notes(run: Run, requests: Sequence[Request]) -> list[str]:
    """What a reader of the figures has to know."""
    found = []
    own = client(run)
    if own["bottleneck"]:
        lag = own["lag_s"]["p99"] * 1e3 if own["lag_s"] else 0.0
        found.append(
            f"the client was the bottleneck: its loop was {lag:.0f} ms late at p99 and used "
            f"{own['cpu_cores']:.2f} cores; latencies are too high by about that much"
        )
    if run.interrupted:
        found.append("interrupted: fewer requests than asked for")
    pieces, output = sum(r.pieces for r in requests), sum(r.output_tokens for r in requests)
    if output and abs(pieces - output) > PIECES_TOLERANCE * output:
        found.append(
            f"the server sent {pieces} pieces for {output} tokens: inter-token latency is that of pieces, "
            "time per output token that of tokens"
        )
    if requests and not any(r.prompt_tokens for r in requests):
        found.append(
            "the server sent no usage: output tokens are counted by pieces, prompt tokens not at all"
        )
    return found


def _plain(found: Distribution | None) -> Mapping[str, Any] | None:
    return None if found is None else found.model_dump()
