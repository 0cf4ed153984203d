"""The doctor's report for people: by node, what is wrong first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from cluster.counted import counted
from trtspark.doctor.rows import Report, Row

_STYLES = {"PASS": "green", "NOTE": "cyan", "WARN": "yellow", "FAIL": "bold red", "SKIP": "dim"}


def lines(report: Report, every: bool = False) -> Iterator[Text]:
    """The text. What passed is counted, and listed only with `every`; likewise what was skipped."""
    for index, node in enumerate(report.nodes):
        role = "head" if index == 0 else f"worker-{index}"
        about = report.machines.get(node, "not reached")
        yield Text.assemble((f"{role} {node}", "bold"), f"  {about}")
        yield from _rows([row for row in report.rows if row.node == node], every)
    shared = [row for row in report.rows if not row.node]
    if shared:
        yield Text("all nodes and the endpoint", style="bold")
        yield from _rows(shared, every)
    yield Text(summary(report))


def summary(report: Report) -> str:
    """The last line."""
    failed, warned = report.count("FAIL"), report.count("WARN")
    words = [f"{report.count('PASS')} passed", counted(warned, "warning"), counted(failed, "failure")]
    if skipped := report.count("SKIP"):
        words.append(f"{skipped} skipped")
    state = "" if report.deployed else " Nothing is deployed yet."
    return f"{', '.join(words)} in {report.seconds:.1f} s.{state}"


def _rows(rows: Sequence[Row], every: bool) -> Iterator[Text]:
    for status in ("FAIL", "WARN", "NOTE"):
        for row in rows:
            if row.status == status:
                yield from _row(row)
    quiet = [row for row in rows if row.status in ("PASS", "SKIP")]
    if every:
        for row in quiet:
            yield from _row(row)
        return
    passed = sum(row.status == "PASS" for row in quiet)
    if passed:
        yield Text.assemble("  ", ("PASS", _STYLES["PASS"]), f"  {counted(passed, 'check')}")


def _row(row: Row) -> Iterator[Text]:
    yield Text.assemble("  ", (row.status, _STYLES[row.status]), f"  {row.check}: {row.found}")
    if row.fix:
        yield Text.assemble("        ", ("" if row.status == "NOTE" else "fix: ", "dim"), row.fix)
