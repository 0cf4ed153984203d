"""Whether one run is faster than another, or only different by chance.

Bootstrap: requests are drawn again with replacement from each run, many times, and the ratio of the two
figures is taken each time (B. Efron, 1979). The middle 95 % of the ratios are the confidence interval; a
run is faster when the whole of it lies on one side of 1 by more than what does not matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from trtspark.bench.measure import quantile

RESAMPLES = 2000
CONFIDENCE = 0.95
#: A difference of less than this share is nobody's reason to change anything.
NEGLIGIBLE = 0.01
#: Fewer requests than this on one side say nothing.
FEWEST = 5

T = TypeVar("T")
Verdict = Literal["faster", "slower", "no difference seen", "too few requests"]


@dataclass(frozen=True)
class Comparison:
    """One figure of run B against run A: `ratio` is B/A with its interval; `verdict` is about B."""

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def percentile(share: float) -> Callable[[Sequence[float]], float]:
    """A function that takes the percentile of unsorted values."""
    return lambda values: quantile(sorted(values), share)


def ratio_of_sums(pairs: Sequence[tuple[float, float]]) -> float:
    """The sum of the first by the sum of the second: tokens by seconds, say."""
    return sum(first for first, _ in pairs) / sum(second for _, second in pairs)


def compare(
    name: str,
    a: Sequence[T],
    b: Sequence[T],
    figure: Callable[[Sequence[T]], float],
    less_is_better: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare a figure over the requests of two runs; its values are positive. The same seed, the same
    answer.
    """
    if min(len(a), len(b)) < FEWEST or not figure(a) > 0:
        first, second = (figure(side) if side else float("nan") for side in (a, b))
        ratio = second / first if a and first > 0 else float("nan")
        return Comparison(name, first, second, ratio, float("nan"), float("nan"), "too few requests")
    chance = random.Random(seed)
    ratios = sorted(
        figure(chance.choices(b, k=len(b))) / figure(chance.choices(a, k=len(a))) for _ in range(resamples)
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = quantile(ratios, tail), quantile(ratios, 1 - tail)
    first, second = figure(a), figure(b)
    return Comparison(name, first, second, second / first, low, high, verdict(low, high, less_is_better))


def verdict(low: float, high: float, less_is_better: bool) -> Verdict:
    """What an interval of ratios B/A says of B."""
    if high < 1 - NEGLIGIBLE:
        return "faster" if less_is_better else "slower"
    if low > 1 + NEGLIGIBLE:
        return "slower" if less_is_better else "faster"
    return "no difference seen"
