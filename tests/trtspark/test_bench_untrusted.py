"""Figures, names and settings that nobody expects in a result: no crash, no formula, no secret."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from tests import samples
from tests.trtspark.bench_samples import machine_samples, result, run, system_info
from trtspark.bench import matrix, results, screen, system
from trtspark.bench.comparison import sides
from trtspark.bench.matrix import Row
from trtspark.bench.report import render
from trtspark.bench.results import Result

STRANGE = (math.inf, -math.inf, math.nan, 0.0, -1.0, 1e308, 5e-324)
FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    '=HYPERLINK("http://x")',
    "\uff1d1",
    "-x/y",
)
X = "Canary7Canary7"


def with_every_figure(one: Result, value: float) -> Result:
    """The same with every measured float replaced."""

    def changed(part: Any) -> Any:
        if isinstance(part, bool):
            return part
        if isinstance(part, float):
            return value
        if isinstance(part, dict):
            return {key: changed(entry) for key, entry in part.items()}
        return [changed(entry) for entry in part] if isinstance(part, list) else part

    document = one.model_dump()
    for name in ("figures", "rows", "timeline", "samples"):
        document[name] = changed(document[name])
    return Result.model_validate(document)


def whole() -> Result:
    beside = machine_samples(run(4, 20, 0))
    return result(4, 20, system=system_info()).model_copy(update={"samples": beside})


@pytest.mark.parametrize("value", STRANGE, ids=str)
def test_a_strange_figure_crashes_nothing(value, tmp_path):
    one, good = with_every_figure(whole(), value), whole()
    page = render([("a.json", one), ("b.json", good)])
    assert "<svg" in page
    text = io.StringIO()
    console = Console(file=text, width=200)
    screen.print_result(console, one, None)
    screen.print_sweep(console, [one, good])
    screen.print_sides(console, sides(one, good))
    screen.print_matrix(console, [matrix.measured(one, 2, 2, value, "a.json")])
    assert matrix.as_csv([matrix.measured(one, 2, 2, value, "a.json")])
    path = results.write(one, tmp_path)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    again = results.read(path)
    assert repr(again.figures) == repr(one.figures)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    row = Row(model=text, status="BENCH_FAILED", reason=text, transport=text, output_tps=-1.5, tp=2)
    [_, cells] = csv.reader(io.StringIO(matrix.as_csv([row]), newline=""))
    named = dict(zip(matrix.COLUMNS, cells, strict=True))
    for name in ("Model", "Reason", "Transport"):
        assert named[name] == "'" + " ".join(text.split())
    assert (named["Output_TPS"], named["TP"]) == ("-1.5", "2")


SECRET = {
    "extraArgs": (["--custom_word", X], json.dumps(["--custom_word", X])),
    "nccl": ({"NCCL_NET_PLUGIN": X}, json.dumps({"NCCL_NET_PLUGIN": X})),
    "tiktoken": ({"url": f"https://mirror.example/{X}"}, json.dumps({"url": f"https://mirror.example/{X}"})),
}


@pytest.mark.parametrize("key", SECRET)
def test_what_was_set_as_a_secret_is_in_no_result(key):
    value, text = SECRET[key]
    configured = samples.settings(2, **{key: value})
    for found in (system.public(configured, {key: text}), system.told(configured, {key: text})):
        assert X not in json.dumps(found, default=str)
    assert X in json.dumps(system.public(configured, {}))


LOOKS_SECRET: tuple[dict[str, Any], ...] = (
    {"extraArgs": ["--api_key", X]},
    {"extraArgs": ["--api_key=" + X]},
    {"nccl": {"NCCL_AUTH_TOKEN": X}},
    {"tiktoken": {"url": f"https://mirror.example/x?sig={X}"}},
)


@pytest.mark.parametrize("changes", LOOKS_SECRET, ids=str)
def test_and_neither_what_looks_like_one(changes):
    configured = samples.settings(2, **changes)
    for found in (system.public(configured, {}), system.told(configured, {})):
        assert X not in json.dumps(found, default=str)
