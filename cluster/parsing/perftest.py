"""The output of ib_write_bw (perftest 4.5 to 24.x): a table of one row, in Gb/s by `--report_gbits`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HEAD = "BW average[Gb/sec]"
#: " 65536      20000            111.72             111.71             0.213070": size, iterations, peak (0.00
#: in a test of a given time), average, message rate.
_ROW = re.compile(r"^\s*\d+\s+\d+\s+[\d.]+\s+(\d+(?:\.\d+)?)\s+[\d.]+\s*$")
#: No adapter of a Spark does more than its two functions' PCIe links.
_MOST_GBPS = 1000.0
#: Lines of its that only echo the call or decorate.
_NOISE = re.compile(r"^[-*\s]*$|Waiting for client|CPU [Ff]requency|^ ?(local|remote) address|^ ?GID:")
_MOST_CHARS = 160


def average(answer: Mapping[str, Any]) -> float | None:
    """The average rate in Gb/s; None where the run failed or printed no table."""
    if answer.get("rc") != 0:
        return None
    _, found, table = str(answer.get("out", "")).partition(_HEAD)
    if not found:
        return None
    rates = [float(row[1]) for row in map(_ROW.match, table.splitlines()) if row]
    return rates[0] if len(rates) == 1 and rates[0] <= _MOST_GBPS else None


def reason(answer: Mapping[str, Any]) -> str:
    """Why there is no rate, in perftest's own words, one line."""
    text = str(answer.get("err", "")) or str(answer.get("out", ""))
    lines = [line.strip() for line in text.splitlines() if not _NOISE.search(line)]
    return (lines or [f"exit code {answer.get('rc')} without a result"])[0][:_MOST_CHARS]
