"""Numbers as people read them; the same on the terminal and in the report."""

from __future__ import annotations

import math


def duration(seconds: float | None) -> str:
    """12.3 ms, 1.23 s; "-" for nothing."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.0f} µs"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def number(value: float | None) -> str:
    """Three or four digits: 0.0123, 1.23, 45.6, 1,234."""
    if value is None or math.isnan(value):
        return "-"
    size = abs(value)
    if size >= 100 or value == 0:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:,.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def tick(value: float) -> str:
    """An axis's round number, without zeros at its end: 0, 2.5, 1,000."""
    return f"{value:,.10g}"


def duration_tick(seconds: float) -> str:
    """0, 50 ms, 2.5 s."""
    if seconds == 0:
        return "0"
    return f"{tick(round(seconds * 1e3, 6))} ms" if seconds < 1 else f"{tick(round(seconds, 6))} s"
