"""Runs as the page knows them: in order, with short names that tell them apart, grouped into series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trtspark.bench.results import Result


@dataclass(frozen=True)
class Named:
    """A run with its place on the page, its name there, its file's name and the series it belongs to."""

    index: int
    name: str
    file: str
    series: int
    result: Result


@dataclass(frozen=True)
class Runs:
    """All of them, oldest first, and the names of the series."""

    all: tuple[Named, ...]
    series: tuple[str, ...]

    def of(self, series: int) -> list[Named]:
        """The runs of one series."""
        return [run for run in self.all if run.series == series]


def named(results: Sequence[tuple[str, Result]]) -> Runs:
    """From (file's name, result). A series is one model and one kind of work; its runs differ in how many at
    once.
    """
    ordered = sorted(results, key=lambda pair: pair[1].started)
    only = [result for _, result in ordered]
    parts = [part for part in (_model, _work, _stack) if len({part(one) for one in only}) > 1]
    keys = [" · ".join(part(one) for part in parts) or _model(one) for one in only]
    series = list(dict.fromkeys(keys))
    loads = [_load(one) for one in only]
    names = [f"{key} · {load}" if parts else load for key, load in zip(keys, loads, strict=True)]
    twice = {name for name in names if names.count(name) > 1}
    found = []
    for index, ((file, result), name, key) in enumerate(zip(ordered, names, keys, strict=True)):
        shown = f"{name}, {result.started:%d %b %H:%M:%S}" if name in twice else name
        found.append(Named(index, shown, file, series.index(key), result))
    return Runs(tuple(found), tuple(series))


def _model(one: Result) -> str:
    return one.server.model.split("/")[-1]


def _work(one: Result) -> str:
    load = one.workload
    if load.dataset is not None:
        return load.dataset.name
    return f"{load.input_tokens} in, {load.output_tokens} out"


def _stack(one: Result) -> str:
    return one.system.stack if one.system else one.server.url


def _load(one: Result) -> str:
    load = one.workload
    return f"{load.rate_per_s:g} requests/s" if load.rate_per_s else f"{load.concurrency} at once"


def best(
    runs: Sequence[Named], figure: Callable[[Result], float | None], least: bool = False
) -> Named | None:
    """The run with the greatest (or least) value of those that have one."""
    having = [run for run in runs if figure(run.result) is not None]
    if not having:
        return None
    return (min if least else max)(having, key=lambda run: figure(run.result) or 0.0)
