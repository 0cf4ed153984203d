"""Charts as SVG text: a frame with two axes, and what is drawn in it. Colours are the page's CSS variables.

Sizes are in the drawing's own units: WIDE of them fill a column, so that text stays readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDE = 440
#: Room for the axes' words.
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 38
#: As many as there are colours and dashes that differ.
SERIES = 6
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4")

Point = tuple[float, float]
Say = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """One direction: its words, its range, its ticks. `log`: powers of two apart by the same length."""

    words: str
    low: float
    high: float
    ticks: Sequence[float]
    say: Say
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1; one that is infinite or no number is put on the edge."""
        if not drawable(value) or self.low == self.high or (self.log and value <= 0):
            return 1.0 if value > 0 else 0.0
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def from_zero(words: str, values: Iterable[float], say: Say, count: int = 4) -> Axis:
    """From 0 to a round number above all values."""
    top = max(filter(drawable, values), default=0.0)
    if not top > 0:
        top = 1.0
    step = nice(top / count)
    steps = math.ceil(top / step - 1e-9)
    return Axis(words, 0.0, step * steps, [step * number for number in range(steps + 1)], say)


def doubling(words: str, values: Iterable[float], say: Say) -> Axis:
    """For what is varied by factors: each value is a tick. One value alone lies in the middle."""
    ticks = sorted({value for value in values if drawable(value) and value > 0}) or [1.0]
    low, high = ticks[0], ticks[-1]
    if low == high:
        low, high = low / 2, high * 2
    apart = [ticks[0]]
    for tick in ticks[1:]:
        # Labels closer than this would lie on each other.
        if math.log(tick / apart[-1]) > 0.06 * math.log(high / low):
            apart.append(tick)
    margin = (high / low) ** 0.05  # so that no point lies on an axis
    return Axis(words, low / margin, high * margin, apart, say, log=True)


def drawable(value: float) -> bool:
    """Whether arithmetic with it stays finite."""
    return math.isfinite(value) and (value == 0 or 1e-300 < abs(value) < 1e300)


def nice(step: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    for factor in (1, 2, 2.5, 5, 10):
        if step <= factor * power * (1 + 1e-9):
            return factor * power
    return 10 * power


@dataclass
class Chart:
    """A drawing that grows; `text()` is its SVG."""

    name: str
    about: str
    x: Axis
    y: Axis
    height: int = 260
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """The place of a value."""
        width, height = WIDE - LEFT - RIGHT, self.height - TOP - BOTTOM
        return (LEFT + self.x.share(x) * width, TOP + (1 - self.y.share(y)) * height)

    def line(self, points: Sequence[Point], series: int, kind: str = "line") -> None:
        """Through the points."""
        if len(points) < 2:
            return
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (self.at(*point) for point in points))
        dash = _DASHES[series % SERIES]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path class="{kind} {colour(series)}" d="{path}"{dashed}/>')

    def area(self, points: Sequence[Point], series: int) -> None:
        """Under a line, down to zero."""
        if len(points) < 2:
            return
        inner = [self.at(*point) for point in points]
        base = self.at(points[0][0], self.y.low)[1]
        path = f"M{inner[0][0]:.1f} {base:.1f}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in inner)
        self.parts.append(f'<path class="area {colour(series)}" d="{path}L{inner[-1][0]:.1f} {base:.1f}Z"/>')

    def dot(self, x: float, y: float, series: int, says: str) -> None:
        """A point that can be reached by keyboard and tells its value."""
        left, top = self.at(x, y)
        anchor = "end" if left > WIDE * 0.6 else "start"
        shift = -8 if anchor == "end" else 8
        # Above the point, but never out of the drawing.
        place = top - 9 if top > TOP + 16 else top + 18
        self.parts.append(
            f'<g class="dot {colour(series)}" tabindex="0" role="img" aria-label="{escape(says)}">'
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4.5"/><circle class="reach" cx="{left:.1f}" '
            f'cy="{top:.1f}" r="12"/>'
            f'<text class="tip" x="{left + shift:.1f}" y="{place:.1f}" text-anchor="{anchor}">'
            f"{escape(says)}</text></g>"
        )

    def cloud(self, points: Iterable[Point], series: int) -> None:
        """Many small points, without words."""
        marks = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in (self.at(*point) for point in points))
        if marks:
            self.parts.append(f'<path class="cloud {colour(series)}" d="{marks}"/>')

    def text(self) -> str:
        """The whole drawing."""
        key = "".join(c if c.isalnum() else "-" for c in self.name.lower())
        return (
            f'<svg viewBox="0 0 {WIDE} {self.height}" role="group" aria-labelledby="{key}-n {key}-d">'
            f'<title id="{key}-n">{escape(self.name)}</title><desc id="{key}-d">{escape(self.about)}</desc>'
            f'<g aria-hidden="true">{self._axes()}</g>{"".join(self.parts)}</svg>'
        )

    def _axes(self) -> str:
        bottom = self.height - BOTTOM
        found = []
        for tick in self.y.ticks:
            top = self.at(self.x.low, tick)[1]
            found.append(f'<path class="grid" d="M{LEFT} {top:.1f}H{WIDE - RIGHT}"/>')
            found.append(
                f'<text x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{self.y.say(tick)}</text>'
            )
        for tick in self.x.ticks:
            left = self.at(tick, self.y.low)[0]
            found.append(f'<path class="tick" d="M{left:.1f} {bottom}v4"/>')
            found.append(
                f'<text x="{left:.1f}" y="{bottom + 16}" text-anchor="middle">{self.x.say(tick)}</text>'
            )
        found.append(f'<path class="axis" d="M{LEFT} {bottom}H{WIDE - RIGHT}"/>')
        middle = (LEFT + WIDE - RIGHT) / 2
        found.append(
            f'<text class="words" x="{middle}" y="{self.height - 5}" text-anchor="middle">'
            f"{escape(self.x.words)}</text>"
        )
        return "".join(found)


def colour(series: int) -> str:
    """The CSS class of a series."""
    return f"s{series % SERIES}"


def legend(names: Sequence[str], first: int = 0) -> str:
    """Names with the line that each has, counted from series `first`; nothing for one alone."""
    if len(names) < 2:
        return ""
    items = "".join(
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="line {colour(number)}" d="M1 4H27" '
        f'stroke-dasharray="{_DASHES[number % SERIES]}"/></svg>{escape(name)}</li>'
        for number, name in enumerate(names, start=first)
    )
    return f'<ul class="legend">{items}</ul>'


def ranges(
    name: str, about: str, axis: Axis, rows: Sequence[tuple[str, int, Sequence[tuple[str, float]]]], say: Say
) -> str:
    """A row per run: a bar from its least percentile to its greatest, with a mark at each.

    `rows`: (label, series, ((percentile's name, value), …)), values growing.
    """
    step, label = 34, 16
    height = len(rows) * step + BOTTOM
    chart = Chart(name, about, axis, Axis("", 0, 1, (), say), height + TOP)
    width = WIDE - 2 * RIGHT
    base = TOP + len(rows) * step
    out = []
    for tick in axis.ticks:
        left = RIGHT + axis.share(tick) * width
        out.append(f'<path class="grid" d="M{left:.1f} {TOP}V{base}"/>')
        anchor = "start" if tick == axis.ticks[0] else "end" if tick == axis.ticks[-1] else "middle"
        out.append(f'<text x="{left:.1f}" y="{base + 16}" text-anchor="{anchor}">{axis.say(tick)}</text>')
    axes = "".join(out)
    marks = []
    for number, (text, series, values) in enumerate(rows):
        top = TOP + number * step + label + 7
        marks.append(f'<text class="row" x="{RIGHT}" y="{top - 9}">{escape(text)}</text>')
        places = [RIGHT + axis.share(value) * width for _, value in values]
        end = max(places[-1], places[0] + 0.1)  # a path of no length is not drawn
        marks.append(f'<path class="range {colour(series)}" d="M{places[0]:.1f} {top}H{end:.1f}"/>')
        for (what, value), left in zip(values, places, strict=True):
            says = f"{text}: {what} {say(value)}"
            anchor = "end" if left > WIDE * 0.55 else "start"
            big = 5 if what == values[0][0] else 3.5
            marks.append(
                f'<g class="dot {colour(series)}" tabindex="0" role="img" aria-label="{escape(says)}">'
                f'<circle cx="{left:.1f}" cy="{top}" r="{big}"/>'
                f'<circle class="reach" cx="{left:.1f}" cy="{top}" r="9"/>'
                f'<text class="tip" x="{left:.1f}" y="{top - 9}" text-anchor="{anchor}">'
                f"{escape(f'{what} {say(value)}')}</text></g>"
            )
    key = "".join(c if c.isalnum() else "-" for c in chart.name.lower())
    return (
        f'<svg viewBox="0 0 {WIDE} {chart.height}" role="group" aria-labelledby="{key}-n {key}-d">'
        f'<title id="{key}-n">{escape(name)}</title><desc id="{key}-d">{escape(about)}</desc>'
        f'<g aria-hidden="true">{axes}</g>{"".join(marks)}</svg>'
    )
