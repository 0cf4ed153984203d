"""The figures of a run by name, and cells that carry their exact values beside what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from trtspark.bench.formats import duration, number
from trtspark.bench.results import Result


@dataclass(frozen=True)
class Figure:
    """A column: its words, where it is in a result (dots between names), and how it is shown."""

    words: str
    path: str
    say: Callable[[float | None], str]
    less_is_better: bool | None = None
    """None: neither."""

    def value(self, result: Result) -> float | None:
        """None where the run has none."""
        found: Any = result
        for name in self.path.split("."):
            found = getattr(found, name, None)
            if found is None:
                return None
        return float(found)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


OUTPUT = Figure("Output tokens/s", "figures.output_tokens_per_s", number, False)
USER = Figure("Tokens/s per user, p50", "figures.user_tokens_per_s.p50", number, False)
TTFT = Figure("TTFT p50", "figures.ttft_s.p50", duration, True)
TTFT_99 = Figure("TTFT p99", "figures.ttft_s.p99", duration, True)
JOULE = Figure("Tokens/J", "samples.tokens_per_j", number, False)

COLUMNS = (
    OUTPUT,
    USER,
    Figure("Requests/s", "figures.requests_per_s", number, False),
    TTFT,
    TTFT_99,
    Figure("TPOT p50", "figures.tpot_s.p50", duration, True),
    Figure("ITL p99", "figures.itl_s.p99", duration, True),
    Figure("End to end p50", "figures.e2e_s.p50", duration, True),
    Figure("Goodput /s", "figures.goodput_per_s", number, False),
    JOULE,
    Figure("Completed", "figures.completed", _count),
    Figure("Failed", "figures.failed", _count),
)


def cell(figure: Figure, index: int, result: Result, kind: str = "") -> str:
    """A table's cell; its attributes hold the value as the file has it."""
    value = figure.value(result)
    if value is None:
        return "<td>-</td>"
    mark = f' class="{kind}"' if kind else ""
    return f"<td{mark}{exact(figure, index, value)}>{escape(figure.say(value))}</td>"


def exact(figure: Figure, index: int, value: float) -> str:
    """Attributes that name the run, the figure and its value."""
    return f' data-run="{index}" data-figure="{figure.path}" data-value="{value!r}"'
