"""What a person sees of a benchmark: progress on standard error, the figures on standard output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from trtspark.bench.comparison import THROUGHPUT, Sides
from trtspark.bench.formats import duration, number
from trtspark.bench.matrix import Row
from trtspark.bench.results import Distribution, Figures, Result
from trtspark.bench.stream import Answer

#: Drawing costs the client some milliseconds; more often would show in what it measures.
REFRESH_PER_S = 2


class Live:
    """A line of progress. On something that is no terminal it says nothing but what went wrong."""

    def __init__(self, console: Console) -> None:
        """`console` is standard error's."""
        self.console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._errors: Counter[str] = Counter()
        self._tokens, self._began = 0, 0.0

    def begin(self, what: str, total: int | None) -> None:
        """A phase starts."""
        self._errors.clear()
        self._tokens, self._began = 0, monotonic()
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}" + ("/{task.total}" if total else "")),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=self.console,
            transient=True,
            refresh_per_second=REFRESH_PER_S,
        )
        self._task = self._progress.add_task(what, total=total, said="")
        self._progress.start()

    def told(self, answer: Answer) -> None:
        """A request is done."""
        self._tokens += answer.output_tokens or len(answer.tokens)
        if answer.error:
            self._errors[answer.error] += 1
        if self._progress is not None:
            self._progress.update(self._task, advance=1, said=self._said())

    def stopping(self, again: bool) -> None:
        """Ctrl-C."""
        waiting = "no new requests; waiting for those that run (Ctrl-C gives them up)"
        text = "giving up what runs" if again else waiting
        self.console.print(f"[yellow]{text}[/]")

    def end(self) -> None:
        """The phase is over."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _said(self) -> str:
        rate = self._tokens / max(monotonic() - self._began, 1e-9)
        wrong = ", ".join(f"{count} x {kind}" for kind, count in self._errors.items())
        return f"{rate:,.0f} tokens/s" + (f"  [red]{escape(wrong)}[/]" if wrong else "")


def print_result(console: Console, result: Result, path: Path | None) -> None:
    """The figures of one run."""
    figures, load = result.figures, result.workload
    console.print(f"[bold]{escape(result.server.model)}[/] at {escape(result.server.url)}", soft_wrap=True)
    console.print(_asked(result))
    if not result.complete:
        console.print("[bold yellow]Partial result:[/] it was interrupted.")
    console.print()
    console.print(_throughput(figures))
    console.print()
    console.print(_latencies(figures))
    if figures.slo is not None:
        bounds = ", ".join(f"{name} ≤ {duration(bound)}" for name, bound in figures.slo.items())
        console.print(
            f"\nGoodput   {figures.goodput_per_s:.2f} requests/s within {bounds} "
            f"({figures.slo_met:.0%} of requests)"
        )
    if figures.errors:
        listed = ", ".join(f"{count} x {escape(kind)}" for kind, count in figures.errors.items())
        console.print(
            f"\n[red]Failed    {figures.failed} of {figures.completed + figures.failed}[/]: {listed}"
        )
    lag = figures.client.lag_s
    console.print(
        f"\nClient    {figures.client.cpu_cores:.0%} of a core, "
        f"late by {duration(lag.p50 if lag else None)} (p50), {duration(lag.p99 if lag else None)} (p99)"
        + (", [bold red]and the bottleneck[/]" if figures.client.bottleneck else "")
    )
    if result.samples is not None:
        if result.samples.tokens_per_j is not None:
            console.print(
                f"Energy    {result.samples.tokens_per_j:.2f} tokens/J of the GPUs "
                f"({result.samples.energy_j:,.0f} J)"
            )
        for text in result.samples.limits:
            console.print(f"Limit     {escape(text)}")
    for note in result.notes:
        console.print(f"[yellow]Note[/]      {escape(note)}")
    if path is not None:
        console.print(f"Saved     {escape(str(path))}", style="dim")
    if load.rate_per_s and figures.client.late_starts_s and figures.client.late_starts_s.p99 > 0.1:
        console.print(
            f"[yellow]Note[/]      requests started up to {duration(figures.client.late_starts_s.max)} late: "
            "more ran than --concurrency allows"
        )


def _asked(result: Result) -> str:
    load = result.workload
    tokens = (
        f"{load.input_tokens} tokens in, {load.output_tokens} out"
        if load.dataset is None
        else f"prompts of {escape(load.dataset.name)}"
    )
    how = (
        f"{load.rate_per_s:g} requests/s (open loop)" if load.rate_per_s else f"{load.concurrency} at a time"
    )
    count = f"{load.duration_s:g} s" if load.duration_s else f"{load.requests} requests"
    return f"{load.profile}: {count}, {tokens}, {how}, seed {load.seed}"


def _throughput(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right", style="bold")
    for name, value in (
        ("Output tokens/s", f"{figures.output_tokens_per_s:,.1f}"),
        ("Total tokens/s", f"{figures.total_tokens_per_s:,.1f}"),
        ("Requests/s", f"{figures.requests_per_s:,.2f}"),
        ("Completed", f"{figures.completed:,} in {duration(figures.duration_s)}"),
        ("Tokens in, out", f"{figures.prompt_tokens:,}, {figures.output_tokens:,}"),
    ):
        table.add_row(name, value)
    return table


def _latencies(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("mean", "p50", "p90", "p95", "p99"):
        table.add_column(name, justify="right")
    for name, found in (
        ("Time to first token", figures.ttft_s),
        ("Inter-token latency", figures.itl_s),
        ("Time per output token", figures.tpot_s),
        ("End to end", figures.e2e_s),
    ):
        table.add_row(name, *_cells(found))
    user = figures.user_tokens_per_s
    if user is not None:
        table.add_row(
            "Tokens/s per user", *(f"{v:,.1f}" for v in (user.mean, user.p50, user.p90, user.p95, user.p99))
        )
    return table


def _cells(found: Distribution | None) -> Iterable[str]:
    if found is None:
        return ["-"] * 5
    return [duration(each) for each in (found.mean, found.p50, found.p90, found.p95, found.p99)]


def print_sweep(console: Console, results: Sequence[Result]) -> None:
    """One line per run of a sweep."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("at once", justify="right")
    for name in (
        "output tok/s",
        "per user p50",
        "requests/s",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "ITL p99",
        "failed",
    ):
        table.add_column(name, justify="right")
    for result in results:
        found = result.figures
        user, first, each, gap = found.user_tokens_per_s, found.ttft_s, found.tpot_s, found.itl_s
        table.add_row(
            str(result.workload.concurrency),
            f"{found.output_tokens_per_s:,.1f}",
            f"{user.p50:,.1f}" if user else "-",
            f"{found.requests_per_s:,.2f}",
            duration(first.p50 if first else None),
            duration(first.p99 if first else None),
            duration(each.p50 if each else None),
            duration(gap.p99 if gap else None),
            str(found.failed),
        )
    console.print()
    console.print(table)


def print_matrix(console: Console, rows: Sequence[Row], planned: bool = False) -> None:
    """A row per model; `planned`: what would be done."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    names = (
        ("TP",) if planned else ("TP", "output tok/s", "total tok/s", "mean", "p99", "TTFT p50", "tokens/J")
    )
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("")
    colours = {"SUCCESS": "green", "SKIPPED": "yellow"}
    for row in rows:
        cells = [str(row.tp or "-")]
        if not planned:
            cells += [number(row.output_tps), number(row.total_tps)]
            cells += [_ms(row.mean_latency_ms), _ms(row.p99_latency_ms), _ms(row.ttft_p50_ms)]
            cells += [number(row.tokens_per_j)]
        word = "would run" if planned and row.status == "SUCCESS" else row.status
        why = f" {escape(row.reason)}" if row.reason else ""
        table.add_row(escape(row.model), *cells, f"[{colours.get(row.status, 'red')}]{word}[/]{why}")
    console.print(table)


def _ms(value: float | None) -> str:
    return duration(None if value is None else value / 1e3)


def print_sides(console: Console, found: Sides) -> None:
    """The comparison of two runs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("A", "B", "B/A", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("B is")
    colours = {"faster": "green", "slower": "red"}
    for one in found.figures:
        shown = [f"{v:,.1f}" if one.name == THROUGHPUT else duration(v) for v in (one.a, one.b)]
        interval = "-" if one.low != one.low else f"{one.low:.3f} to {one.high:.3f}"
        ratio = "-" if one.ratio != one.ratio else f"{one.ratio:.3f}"
        table.add_row(
            one.name, *shown, ratio, interval, f"[{colours.get(one.verdict, 'dim')}]{one.verdict}[/]"
        )
    console.print(table)
    console.print(f"\n[bold]{escape(found.headline)}[/]")
    for text in found.caveats:
        console.print(f"[yellow]Note[/]  {escape(text)}")
