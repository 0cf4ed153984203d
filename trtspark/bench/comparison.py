"""Two results side by side: each figure with its confidence interval, and what makes them hard to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trtspark.bench.compare import (
    CONFIDENCE,
    Comparison,
    Verdict,
    compare,
    mean,
    percentile,
    ratio_of_sums,
    verdict,
)
from trtspark.bench.results import Result

THROUGHPUT = "output tokens/s"
#: Resampled values in all, so that long runs take no minutes; and never fewer rounds than this.
WORK = 2_000_000
FEWEST_ROUNDS = 400
MOST_ROUNDS = 2000
#: Fields of a workload that two runs should share.
_SHARED = (
    ("input_tokens", "tokens in"),
    ("output_tokens", "tokens out"),
    ("concurrency", "requests at once"),
    ("rate_per_s", "requests/s"),
    ("dataset", "data set"),
    ("left_out", "fields left out"),
)


@dataclass(frozen=True)
class Sides:
    """A comparison of run B with run A. `verdict` and `headline` are about the first figure."""

    figures: tuple[Comparison, ...]
    verdict: Verdict
    headline: str
    caveats: tuple[str, ...]


def first(a: Result, b: Result, seed: int = 0) -> Comparison:
    """The figure that decides: throughput of closed loops, else the mean end to end."""
    if a.workload.rate_per_s is None and b.workload.rate_per_s is None:
        return _throughput(a, b, seed)
    mine, other = _values(a, "e2e_s"), _values(b, "e2e_s")
    return compare("end to end, mean", mine, other, mean, True, _rounds(mine, other), seed)


def same_work(a: Result, b: Result) -> bool:
    """Whether both were asked for the same."""
    return all(getattr(a.workload, name) == getattr(b.workload, name) for name, _ in _SHARED)


def sides(a: Result, b: Result, seed: int = 0) -> Sides:
    """Every figure that both have. Raises nothing: runs that say little have few figures."""
    found = []
    if a.workload.rate_per_s is None and b.workload.rate_per_s is None:
        found.append(_throughput(a, b, seed))
    columns = (
        ("time to first token, mean", "ttft_s", mean),
        ("time to first token, p99", "ttft_s", percentile(0.99)),
        ("time per output token, mean", "tpot_s", mean),
        ("time per output token, p99", "tpot_s", percentile(0.99)),
        ("end to end, mean", "e2e_s", mean),
        ("end to end, p99", "e2e_s", percentile(0.99)),
    )
    for name, column, figure in columns:
        mine, other = (_values(side, column) for side in (a, b))
        found.append(compare(name, mine, other, figure, True, _rounds(mine, other), seed))
    head = found[0] if found[0].name == THROUGHPUT else found[4]
    return Sides(tuple(found), head.verdict, _headline(head), tuple(caveats(a, b)))


def caveats(a: Result, b: Result) -> list[str]:
    """Why the two may not be comparable, a line each."""
    found = []
    if a.server.model != b.server.model:
        found.append(f"different models: {a.server.model} and {b.server.model}")
    for name, words in _SHARED:
        mine, other = getattr(a.workload, name), getattr(b.workload, name)
        if mine != other:
            found.append(f"different {words}: {_said(mine)} and {_said(other)}")
    for label, side in (("A", a), ("B", b)):
        if not side.complete:
            found.append(f"{label} was interrupted")
        if side.figures.failed:
            found.append(f"{label} has {side.figures.failed} failed requests")
        if side.figures.client.bottleneck:
            found.append(f"{label}'s client was the bottleneck")
        if not side.tokenizer.exact:
            found.append(f"{label}'s prompt lengths are approximated")
    return found


def _throughput(a: Result, b: Result, seed: int) -> Comparison:
    """In a closed loop the rate is users times tokens by seconds, over requests: those are drawn again.

    The run's own figure, which has its beginning and end in it, is shown; the interval lies around it.
    """
    mine, other = _work(a), _work(b)
    made = compare(THROUGHPUT, mine, other, ratio_of_sums, False, _rounds(mine, other), seed)
    shown = a.figures.output_tokens_per_s, b.figures.output_tokens_per_s
    if made.verdict == "too few requests" or not shown[0] or not made.ratio:
        return replace(made, a=shown[0], b=shown[1])
    ratio = shown[1] / shown[0]
    scale = ratio / made.ratio
    low, high = made.low * scale, made.high * scale
    said = verdict(low, high, less_is_better=False)
    return replace(made, a=shown[0], b=shown[1], ratio=ratio, low=low, high=high, verdict=said)


def _work(side: Result) -> list[tuple[float, float]]:
    rows = side.rows
    pairs = zip(rows.output_tokens, rows.e2e_s, strict=True)
    return [(float(tokens), seconds) for tokens, seconds in pairs if seconds]


def _values(side: Result, column: str) -> list[float]:
    return [value for value in getattr(side.rows, column) if value is not None]


def _rounds(a: Sequence[object], b: Sequence[object]) -> int:
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, WORK // max(1, len(a) + len(b))))


def _headline(head: Comparison) -> str:
    if head.verdict == "too few requests":
        return "too few requests to tell"
    interval = f"{CONFIDENCE:.0%} interval {head.low - 1:+.1%} to {head.high - 1:+.1%}"
    said = head.verdict if head.verdict == "no difference seen" else f"B is {head.verdict}"
    return f"{said}: {head.name} {head.ratio - 1:+.1%} ({interval})"


def _said(value: object) -> str:
    return "none" if value is None or value == [] else str(getattr(value, "name", value))
