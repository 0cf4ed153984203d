"""`trtspark logs`: every rank's words, with known problems explained."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import ConfigError
from trtspark import terminal
from trtspark.project import Choice

if TYPE_CHECKING:
    from rich.text import Text

    from cluster.log_lines import Line
    from trtspark.project import Stack

TAIL = 200
#: The server's line about a health check that went well: rank 0 asks each second.
_HEALTH = re.compile(r'"GET /health HTTP/[\d.]+" 200')
#: Of those that ended, when nothing runs.
ENDED = 3
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RANK_STYLES = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta", "bright_blue")
_LEVEL_STYLES = {"error": "red", "warning": "yellow", "info": ""}


def run(
    context: typer.Context,
    rank: Annotated[int | None, typer.Option(min=0, help="Only that rank's lines.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines come, over restarts, until Ctrl-C.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 10m, 2h, 1d, or 2026-11-25T08:00.")
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option(
            metavar="LINES", min=0, help=f"So many of the last lines (default: {TAIL}; all with --since)."
        ),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Also the containers that ended before the one that runs.")
    ] = False,
    health: Annotated[
        bool, typer.Option("--health", help="Also the server's lines about health checks that went well.")
    ] = False,
) -> None:
    """Show all ranks' log lines together, with known problems marked and explained.

    Rank 0's container holds the lines of all ranks. When nothing runs, the containers that ended last are
    shown, with why they ended.

    Examples:

      trtspark logs

      trtspark logs --rank 1 --since 10m

      trtspark logs --follow --tail 20
    """
    start = when(since)
    count = TAIL if tail is None and start is None else tail
    from remote.engine import connect

    choice: Choice = context.obj
    stack = choice.open()
    show = Printer(hostnames(stack), rank, health)
    client = connect(stack.connections[0])
    if follow:
        _follow(client, stack, count, start, show)
    else:
        _past(client, stack, count, start, show, previous)


def when(text: str | None) -> float | None:
    """Seconds since the epoch of `10m` (ago) or of a date. Raises BadParameter."""
    if text is None:
        return None
    if span := _SPAN.fullmatch(text):
        return time.time() - float(span[1]) * _UNITS[span[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise typer.BadParameter(f"--since: found {text!r}; it may be 10m, 2h, 1d or a date.") from None


def hostnames(stack: Stack) -> list[str]:
    """Every rank's host name, as the last `up` has left it; [] before one."""
    listed = [str(line) for line in stack.outputs.get("nodes") or []]
    return [line.partition("(")[2].partition(",")[0] for line in listed]


class Printer:
    """Prints lines with the rank they are of, and once for each container what a known problem means."""

    def __init__(self, hosts: Sequence[str], rank: int | None = None, health: bool = False) -> None:
        """`rank`: show only that one's; `health`: show the lines about health checks, too."""
        from cluster.log_lines import Reader

        self._new = partial(Reader, hosts)
        self._rank, self._health = rank, health
        self._reader, self._told = self._new(), set[str]()

    def container(self, text: str) -> None:
        """A line between two containers."""
        self._reader, self._told = self._new(), set()
        terminal.out.print(f"--- {text}", style="bold", markup=False)

    def line(self, raw: str) -> None:
        """One line of the log."""
        self._print(self._reader.read(raw))

    def _wanted(self, line: Line) -> bool:
        if self._rank is not None and line.rank != self._rank:
            return False
        return self._health or not _HEALTH.search(line.text)

    def _print(self, line: Line) -> None:
        if not self._wanted(line):
            return
        terminal.out.print(_shown(line))
        if line.known and line.id not in self._told:
            self._told.add(line.id)
            style = "dim" if line.harmless else "bold yellow"
            terminal.out.print(f"      ^ {line.known}", style=style, markup=False)

    def lines(self, raw: Iterable[str], tail: int | None = None) -> None:
        """Several: of what is to be shown at all, the last `tail`."""
        wanted = [line for line in map(self._reader.read, raw) if self._wanted(line)]
        for one in wanted if tail is None else wanted[max(0, len(wanted) - tail) :]:
            self._print(one)


def _shown(line: Line) -> Text:
    from rich.text import Text

    mark = "!" if line.known and not line.harmless else " "
    if line.rank is None:
        return Text.assemble((f"{mark}  -  ", "dim"), (line.text, _LEVEL_STYLES[line.level]))
    colour = _RANK_STYLES[line.rank % len(_RANK_STYLES)]
    return Text.assemble((f"{mark}[{line.rank}] ", colour), (line.text, _LEVEL_STYLES[line.level]))


def _past(
    client: Any, stack: Stack, tail: int | None, since: float | None, show: Printer, previous: bool = False
) -> None:
    from remote import logs

    found = logs.containers(client, stack.name)
    if not found:
        raise ConfigError(
            f"stack {stack.name} has no container of rank 0 on its head. `pulumi up` starts one; "
            "`trtspark doctor` says what keeps it from starting."
        )
    running = [one for one in found if one.running]
    ended = [one for one in found if not one.running][:ENDED]
    for one in [*(reversed(ended) if previous or not running else ()), *running[:1]]:
        show.container(_title(one))
        show.lines(logs.read(client, one.id, None, since), tail)
        if not one.running and one.code is not None and (why := _explained(one.code)):
            text = f"      ^ exit code {one.code}: {why}"
            terminal.out.print(text, style="bold yellow", markup=False)


def _explained(code: int) -> str:
    from cluster import exits

    return exits.explained(code)


def _title(one: Any) -> str:
    at = datetime.fromtimestamp(one.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    state = "runs" if one.running else f"ended with exit code {one.code}"
    return f"container {one.id[:12]} of {at} {state}"


def _follow(client: Any, stack: Stack, tail: int | None, since: float | None, show: Printer) -> None:
    from remote import logs

    if not any(one.running for one in logs.containers(client, stack.name)):
        terminal.hint("Nothing runs; waiting for the server to start. Ctrl-C ends it.")
    try:
        for one in logs.follow(client, stack.name, tail, since):
            if isinstance(one, str):
                show.line(one)
            else:
                why = _explained(one.code) if one.code is not None else ""
                ended = f"ended with exit code {one.code}" if one.code is not None else "is gone"
                show.container(f"the container {ended}{f' ({why})' if why else ''}; now {one.container[:12]}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
