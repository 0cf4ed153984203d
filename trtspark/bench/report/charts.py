"""The page's charts, each with a caption, a text that says what is in it, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from trtspark.bench.formats import duration, duration_tick, number, tick
from trtspark.bench.report import svg
from trtspark.bench.report.figures import OUTPUT, USER, Figure
from trtspark.bench.report.runs import Named, Runs
from trtspark.bench.results import Distribution, Result

#: Points of one scatter; more would be one blot.
MOST_POINTS = 1500
#: Lines of more runs would hide each other where each goes up and down.
MOST_LINES = 4
PERCENTILES = ("p50", "p90", "p95", "p99")


def figure(title: str, small: str, drawing: str, numbers: str = "") -> str:
    """A card with a drawing."""
    more = f"<details><summary>Numbers</summary>{numbers}</details>" if numbers else ""
    note = f"<small>{escape(small)}</small>" if small else ""
    return f'<figure class="card"><figcaption>{escape(title)}{note}</figcaption>{drawing}{more}</figure>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], label: str) -> str:
    """Plain words in cells; the first of each row is its heading."""
    heads = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(each)}</td>" for each in rest)}</tr>'
        for first, *rest in rows
    )
    return scrolled(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>", label)


def scrolled(inner: str, label: str) -> str:
    """A table that may be wider than a phone."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{inner}</div>'


def against_concurrency(runs: Runs) -> list[str]:
    """Throughput of all and of one user, against requests at once; closed loops only."""
    closed = [run for run in runs.all if run.result.workload.rate_per_s is None]
    if len({_at_once(run) for run in closed}) < 2:
        return []
    x = svg.doubling("Requests at once", (_at_once(run) for run in closed), tick)
    return [
        _curve("Throughput", "all requests together", OUTPUT, "Output tokens/s", runs, closed, x),
        _curve("Speed for one user", "p50 over requests", USER, "Tokens/s per user", runs, closed, x),
        _trade(runs, closed),
    ]


def _trade(runs: Runs, closed: Sequence[Named]) -> str:
    """What all get against what each gets: up and to the right is better."""
    points = [
        (run, user, all_)
        for run in closed
        if (user := USER.value(run.result)) is not None and (all_ := OUTPUT.value(run.result)) is not None
    ]
    x = svg.from_zero("Tokens/s per user, p50", (user for _, user, _ in points), tick)
    y = svg.from_zero("", (all_ for _, _, all_ in points), tick)
    told = "; ".join(f"{run.name}: {number(all_)} for all, {number(user)} each" for run, user, all_ in points)
    chart = svg.Chart("Throughput against speed for one user", f"{told}.", x, y)
    for series in range(len(runs.series)):
        mine = [(run, user, all_) for run, user, all_ in points if run.series == series]
        chart.line(sorted((user, all_) for _, user, all_ in mine), series)
        for run, user, all_ in mine:
            chart.dot(
                user, all_, series, f"{number(all_)} for all, {number(user)} each, {_at_once(run):g} at once"
            )
    rows = [(run.name, number(user), number(all_)) for run, user, all_ in points]
    numbers = table(("Run", "Per user", "All"), rows, "Throughput against speed for one user")
    small = "output tokens/s of all; up and right is better"
    return figure("The trade", small, chart.text() + svg.legend(runs.series), numbers)


def _curve(
    title: str, small: str, what: Figure, words: str, runs: Runs, closed: Sequence[Named], x: svg.Axis
) -> str:
    values = [(run, value) for run in closed if (value := what.value(run.result)) is not None]
    y = svg.from_zero(words, (value for _, value in values), tick)
    told = "; ".join(f"{run.name}: {number(value)}" for run, value in values)
    chart = svg.Chart(f"{title} against requests at once", f"{words}. {told}.", x, y)
    for series in range(len(runs.series)):
        mine = [(run, value) for run, value in values if run.series == series]
        chart.line(_means([(_at_once(run), value) for run, value in mine]), series)
        for run, value in mine:
            chart.dot(_at_once(run), value, series, f"{number(value)} at {_at_once(run):g} at once")
    rows = [(run.name, number(value)) for run, value in values]
    return figure(
        title, f"{words}, {small}", chart.text() + svg.legend(runs.series), table(("Run", words), rows, title)
    )


def _at_once(run: Named) -> float:
    return float(run.result.workload.concurrency)


def _means(points: Sequence[svg.Point]) -> list[svg.Point]:
    """Repeated runs meet in their mean."""
    by_x: dict[float, list[float]] = {}
    for x, y in points:
        by_x.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(by_x.items())]


def latencies(runs: Runs) -> list[str]:
    """The percentiles of each latency, a row per run."""
    kinds: tuple[tuple[str, str, Callable[[Result], Distribution | None]], ...] = (
        ("Time to first token", "until the first word", lambda one: one.figures.ttft_s),
        ("Inter-token latency", "between words: every single gap", lambda one: one.figures.itl_s),
        ("Time per output token", "a mean for each request", lambda one: one.figures.tpot_s),
        ("End to end", "until the last word", lambda one: one.figures.e2e_s),
    )
    return [card for title, small, of in kinds if (card := _latency(title, small, of, runs))]


def _latency(title: str, small: str, of: Callable[[Result], Distribution | None], runs: Runs) -> str:
    having = [(run, found) for run in runs.all if (found := of(run.result)) is not None]
    if not having:
        return ""
    axis = svg.from_zero("", (found.p99 for _, found in having), duration_tick)
    rows = [
        (run.name, run.series, [(name, float(getattr(found, name))) for name in PERCENTILES])
        for run, found in having
    ]
    said = [
        (run.name, *(duration(value) for _, value in values))
        for (run, _), (_, _, values) in zip(having, rows, strict=True)
    ]
    told = "; ".join(f"{name}: p50 {p50}, p99 {p99}" for name, p50, _, _, p99 in said)
    drawing = svg.ranges(f"{title}, percentiles", f"{told}.", axis, rows, duration)
    numbers = table(("Run", *PERCENTILES), said, f"{title}, percentiles")
    return figure(title, f"{small}; marks at p50, p90, p95 and p99", drawing, numbers)


def request_by_request(runs: Runs) -> list[str]:
    """TTFT of every request against its prompt's tokens, and against when it was asked."""
    length = _scatter(
        runs,
        "Against the prompt's length",
        "Tokens of the prompt, as the server counts",
        lambda one: [float(tokens) for tokens in one.rows.prompt_tokens],
        lambda x: f"{x:,.0f} tokens",
    )
    when = _scatter(
        runs,
        "Against when it was asked",
        "Seconds since the run's start",
        lambda one: one.rows.start_s,
        lambda x: f"{x:,.1f} s",
        lines=len(runs.all) <= MOST_LINES,
    )
    return [card for card in (length, when) if card]


def _scatter(
    runs: Runs,
    title: str,
    words: str,
    of: Callable[[Result], Sequence[float]],
    say: svg.Say,
    lines: bool = True,
) -> str:
    clouds = []
    for run in runs.all:
        pairs = zip(of(run.result), run.result.rows.ttft_s, strict=True)
        points = [(left, seconds) for left, seconds in pairs if seconds is not None]
        clouds.append((run, points[:: len(points) // MOST_POINTS + 1]))
    if not any(left for _, points in clouds for left, _ in points):
        return ""
    x = svg.from_zero(words, (left for _, points in clouds for left, _ in points), tick)
    y = svg.from_zero("", (second for _, points in clouds for _, second in points), duration_tick)
    medians = [(run, _medians(points)) for run, points in clouds]
    told = "; ".join(
        f"{run.name}: {duration(line[0][1])} at {say(line[0][0])}"
        + (f", {duration(line[-1][1])} at {say(line[-1][0])}" if len(line) > 1 else "")
        for run, line in medians
        if line
    )
    chart = svg.Chart(f"Time to first token {title.lower()}", f"Medians. {told}.", x, y)
    for run, points in clouds:
        chart.cloud(points, run.series)
    for run, line in medians if lines else ():
        chart.line(line, run.series, "thin")
    for run, line in medians if lines else ():
        if line:
            left, top = line[-1]
            chart.dot(left, top, run.series, f"{duration(top)} at {say(left)}, {run.name}")
    said = [(run.name, say(left), duration(top)) for run, line in medians for left, top in line]
    numbers = table(("Run", "About", "Median TTFT"), said, f"Time to first token {title.lower()}")
    drawing = chart.text() + svg.legend(runs.series)
    return figure(
        title, "a point per request" + (", lines through medians" if lines else ""), drawing, numbers
    )


def _medians(points: Sequence[svg.Point], groups: int = 12) -> list[svg.Point]:
    """Of up to `groups` parts of the lengths; fewer where there are fewer lengths."""
    ordered = sorted(point for point in points if all(map(svg.drawable, point)))
    if not ordered:
        return []
    low, high = ordered[0][0], ordered[-1][0]
    width = max((high - low) / groups, 1e-9)
    parts: dict[int, list[svg.Point]] = {}
    for point in ordered:
        parts.setdefault(min(int((point[0] - low) / width), groups - 1), []).append(point)
    found = []
    for _, part in sorted(parts.items()):
        values = sorted(second for _, second in part)
        found.append((sum(x for x, _ in part) / len(part), values[len(values) // 2]))
    return found


def time_lines(run: Named) -> list[str]:
    """What happened over a run: tokens and requests, and what was sampled beside."""
    result = run.result
    line = result.timeline
    times = [line.step_s * (number_ + 0.5) for number_ in range(len(line.output_tokens))]
    rates = [tokens / line.step_s if line.step_s else 0.0 for tokens in line.output_tokens]
    end = line.step_s * len(line.output_tokens)
    found = [
        _over_time(run, "Output tokens/s", number, end, [("", times, rates)], filled=True),
        _over_time(run, "Requests running", number, end, [("", times, [float(r) for r in line.running])]),
    ]
    if result.samples is None:
        return found
    engine = result.samples.engine
    if engine is not None:
        found.append(_over_time(run, "Requests in a batch", number, end, [("", engine.t_s, engine.batch)]))
        found.append(_over_time(run, "KV cache in use", _share, end, [("", engine.t_s, engine.kv_use)]))
        steps = [(one or 0.0) / 1e3 if one is not None else None for one in engine.iteration_ms]
        found.append(_over_time(run, "Engine iteration", duration, end, [("", engine.t_s, steps)]))
    nodes = result.samples.nodes
    for words, say, of in (
        ("GPU power, W", number, lambda node: node.power_w),
        ("GPU temperature, °C", number, lambda node: node.temperature_c),
        ("GPU busy", _share, lambda node: node.gpu_busy),
        ("CPU busy", _share, lambda node: node.cpu_busy),
        ("Fabric, sent, GB/s", number, lambda node: [_giga(v) for v in node.fabric_sent_bytes_per_s]),
    ):
        found.append(_over_time(run, words, say, end, [(node.node, node.t_s, of(node)) for node in nodes]))
    return [card for card in found if card]


def _over_time(
    run: Named,
    words: str,
    say: svg.Say,
    end: float,
    lines: Sequence[tuple[str, Sequence[float], Sequence[float | None]]],
    filled: bool = False,
) -> str:
    """A small chart over the run; nothing where nothing was seen."""
    clean = [
        (
            name,
            [
                (t, value)
                for t, value in zip(times, values, strict=True)
                if value is not None and 0 <= t <= end
            ],
        )
        for name, times, values in lines
    ]
    clean = [(name, points) for name, points in clean if points]
    if not clean:
        return ""
    x = svg.from_zero("Seconds", [end], tick)
    x = svg.Axis(x.words, 0.0, end, [each for each in x.ticks if each <= end], tick)
    on_axis = tick if say is number else duration_tick if say is duration else say
    y = svg.from_zero("", (value for _, points in clean for _, value in points), on_axis, 3)
    told = "; ".join(
        f"{name + ': ' if name else ''}mean {say(sum(v for _, v in p) / len(p))}, "
        f"least {say(min(v for _, v in p))}, most {say(max(v for _, v in p))}"
        for name, p in clean
    )
    chart = svg.Chart(f"{words}, run {run.index + 1}", f"{told}.", x, y, 170)
    for number_, (_, points) in enumerate(clean):
        if filled:
            chart.area(points, run.series + number_)
        chart.line(points, run.series + number_, "thin" if len(clean) > 1 or filled else "line")
    return figure(words, told, chart.text() + svg.legend([name for name, _ in clean], run.series))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9
