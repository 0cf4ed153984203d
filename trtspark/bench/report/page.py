"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from trtspark.bench import comparison
from trtspark.bench.formats import duration, number
from trtspark.bench.report import charts
from trtspark.bench.report.figures import COLUMNS, JOULE, OUTPUT, TTFT, USER, Figure, cell, exact
from trtspark.bench.report.machines import machines
from trtspark.bench.report.runs import Named, Runs, best, named
from trtspark.bench.results import Result

#: Time lines of so many runs are shown open; of more, each opens by itself.
OPEN_TIME_LINES = 2
#: By which a page of ours is known: only such a file is ever replaced.
MARK = '<meta name="generator" content="trtspark bench report">'


def render(results: Sequence[tuple[str, Result]]) -> str:
    """The page of all runs, given as (file's name, result); at least one."""
    runs = named(results)
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    title = _title(runs)
    sections = [
        _section("throughput", "Throughput", _THROUGHPUT, _cards(charts.against_concurrency(runs))),
        _section("latency", "Latency", _LATENCY, _cards(charts.latencies(runs), "pairs")),
        _section("requests", "Time to first token", _FIRST, _cards(charts.request_by_request(runs), "pairs")),
        _section("runs", "All runs", _RUNS, _table(runs)),
        _section("limits", "What limited it", _LIMITS, _limits(runs)),
        _section("time", "Over time", "", _time_lines(runs)),
        _section("machines", "Hardware and settings", "", machines(runs)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{MARK}'
        # An icon of its own, so that no browser asks a server for one.
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}: benchmark</title><style>{style}</style></head><body>"
        '<a class="skip" href="#runs">To the table of all runs</a>'
        f"<header><h1>{escape(title)}</h1>{_lead(runs)}{_tiles(runs)}{_notes(runs)}</header>"
        f"<main>{''.join(sections)}</main>{_footer(runs)}</body></html>\n"
    )


_THROUGHPUT = "More requests at once share the machine: together they get more, each gets less."
_LATENCY = "Shorter bars are better; a long one has a slow tail."
_FIRST = "The whole prompt is read before the first word; a rise over the run is a queue that grows."
_RUNS = "Bold is the best of its column."
_LIMITS = "Told from what was sampled beside the run."


def _section(key: str, title: str, text: str, inner: str) -> str:
    if not inner:
        return ""
    words = f"<p class='soft'>{escape(text)}</p>" if text else ""
    return f'<section aria-labelledby="{key}"><h2 id="{key}">{escape(title)}</h2>{words}{inner}</section>'


def _cards(cards: Sequence[str], more: str = "") -> str:
    return f'<div class="cards {more}">{"".join(cards)}</div>' if cards else ""


def _title(runs: Runs) -> str:
    models = list(dict.fromkeys(run.result.server.model for run in runs.all))
    return models[0] if len(models) == 1 else f"{len(models)} models"


def _lead(runs: Runs) -> str:
    last = runs.all[-1].result
    parts = []
    if last.system is not None and last.system.nodes:
        nodes = last.system.nodes
        gpu = str(nodes[0].get("gpu_name") or "GPU")
        parts.append(f"{len(nodes)} x {gpu}" if len(nodes) > 1 else gpu)
    if last.server.version:
        parts.append(
            f"TensorRT-LLM {last.server.version}" if last.system else f"server {last.server.version}"
        )
    first, until = (f"{run.result.started:%-d %B %Y}" for run in (runs.all[0], runs.all[-1]))
    parts.append(first if first == until else f"{first} to {until}")
    parts.append(f"{len(runs.all)} run{'s' if len(runs.all) > 1 else ''}")
    return f'<p class="lead">{escape(" · ".join(parts))}</p>'


def _tiles(runs: Runs) -> str:
    wanted: tuple[tuple[Figure, str, bool], ...] = (
        (OUTPUT, "output tokens/s", False),
        (USER, "tokens/s for one user", False),
        (TTFT, "to the first token (p50)", True),
        (JOULE, "tokens per joule of the GPUs", False),
    )
    tiles = []
    for figure, words, least in wanted:
        run = best(runs.all, figure.value, least)
        if run is None:
            continue
        value = figure.value(run.result)
        assert value is not None
        tiles.append(
            f"<li><b{exact(figure, run.index, value)}>{escape(figure.say(value))}</b>"
            f"<span>{escape(words)}</span><span>{escape(run.name)}</span></li>"
        )
    done = sum(run.result.figures.completed for run in runs.all)
    failed = sum(run.result.figures.failed for run in runs.all)
    tiles.append(f"<li><b>{done:,}</b><span>requests answered</span><span>{failed:,} failed</span></li>")
    return f'<ul class="tiles" aria-label="The best of all runs">{"".join(tiles)}</ul>'


def _notes(runs: Runs) -> str:
    """What a reader has to know before the figures, each once with the runs it is about."""
    found: dict[str, list[str]] = {}
    for run in runs.all:
        notes = list(run.result.notes)
        if not run.result.complete and not any("interrupted" in note for note in notes):
            notes.append("interrupted")
        for note in notes:
            found.setdefault(note, []).append(run.name)
    if not found:
        return ""
    items = "".join(
        f"<li>{escape(note)}{'' if len(names) == len(runs.all) else f' ({escape(_listed(names))})'}</li>"
        for note, names in found.items()
    )
    return f'<ul class="notes" aria-label="Notes">{items}</ul>'


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _table(runs: Runs) -> str:
    columns = [one for one in COLUMNS if any(one.value(run.result) is not None for run in runs.all)]
    tops = {one.path: best(runs.all, one.value, bool(one.less_is_better)) for one in columns}
    verdicts = [_compared(runs, run) for run in runs.all]
    works = {_asked(run) for run in runs.all}
    heads = ["Run", *(["Requests"] if len(works) > 1 else []), *(one.words for one in columns)]
    heads += ["Against the first"] if any(verdicts) else []
    body = []
    for run, verdict in zip(runs.all, verdicts, strict=True):
        cells = [f"<td>{escape(_asked(run))}</td>"] if len(works) > 1 else []
        for one in columns:
            leads = len(runs.all) > 1 and one.less_is_better is not None and tops[one.path] == run
            cells.append(cell(one, run.index, run.result, "best" if leads else ""))
        if any(verdicts):
            cells.append(verdict or "<td>-</td>")
        body.append(f'<tr><th scope="row">{escape(run.name)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="card">{charts.scrolled(inner, "All runs")}</div>'


def _asked(run: Named) -> str:
    load = run.result.workload
    if load.dataset is not None:
        return load.dataset.name
    return f"{load.input_tokens} in, {load.output_tokens} out"


def _compared(runs: Runs, run: Named) -> str:
    """A cell with the verdict on a run against the first of the same work; "" for that one itself."""
    for other in runs.all[: run.index]:
        if comparison.same_work(other.result, run.result):
            found = comparison.first(other.result, run.result)
            change = f" ({found.ratio - 1:+.0%})" if found.verdict in ("faster", "slower") else ""
            kind = found.verdict if change else "soft"
            return f'<td class="{kind}">{escape(found.verdict + change)}</td>'
    return ""


def _limits(runs: Runs) -> str:
    told = {run.name: run.result.samples.limits for run in runs.all if run.result.samples}
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, texts))}</dd>"
        for name, texts in told.items()
        if texts
    )
    return f'<div class="card"><dl>{items}</dl></div>' if items else ""


def _time_lines(runs: Runs) -> str:
    shown = len(runs.all) <= OPEN_TIME_LINES
    found = []
    for run in runs.all:
        figures = run.result.figures
        words = (
            f"{run.name}: {number(figures.output_tokens_per_s)} tokens/s over {duration(figures.duration_s)}"
        )
        cards = _cards(charts.time_lines(run))
        found.append(
            f"<details{' open' if shown else ''}><summary>{escape(words)}</summary>{cards}</details>"
        )
    return "".join(found)


def _footer(runs: Runs) -> str:
    versions = runs.all[-1].result.client.versions
    files = ", ".join(run.file for run in runs.all)
    version = escape(versions.get("trtspark", ""))
    return (
        f"<footer><p>Measured by trtspark {version}. Times are the client's; failed requests and the warm-up "
        "are in no figure; docs/benchmark.md has every formula.</p>"
        f"<details><summary>Files</summary><p>{escape(files)}</p></details></footer>"
    )
