"""Whose line of rank 0's log it is, and what it says of a known problem.

All ranks' lines come together in one log. A rank is told by mpirun's own tag where there is one, by the
engine's `[RANK n]`, and in NCCL's lines by the process that wrote them; what an unmarked line continues (a
traceback) is given to the line before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import engine_causes, exits, nccl_log, transport_causes
from cluster.nccl_log import NcclLine

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TAG = re.compile(r"^\[\d+,(\d+)\]<std(?:out|err)>: ?")
_RANK = re.compile(r"\[RANK (\d+)\]")
#: What goes on with the line before: a traceback's lines, and the exception that ends it.
_CONTINUES = re.compile(r"^(\s+\S|Traceback |\w+(\.\w+)*(Error|Exception|Interrupt)\b)")
_ERROR = re.compile(r"\[E\] |\bERROR\b|^\w*(\.\w+)*(Error|Exception): |Traceback ")
_WARNING = re.compile(r"\[W\] |\bWARN(ING)?\b")
_EXIT = re.compile(r"\[trtspark\] ended.*exit code (\d+)")


@dataclass(frozen=True)
class Line:
    """One line. `rank` is None where nothing tells; `level` is error, warning or info; `known` one sentence
    on what it means when it is a known problem (or known to be harmless); `id` names that row.
    """

    text: str
    rank: int | None
    level: str = "info"
    known: str = ""
    id: str = ""
    harmless: bool = False


class Reader:
    """Reads a log from its beginning, a line at a time, and remembers who is who."""

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        """`hosts[i]`: rank i's host name, by which its NCCL calls itself; [] when not known."""
        # Two machines of one name cannot be told apart by it.
        names = [host.partition(".")[0] for host in hosts]
        self._hosts = {name: rank for rank, name in enumerate(names) if names.count(name) == 1}
        self._size = len(hosts)
        self._processes: dict[tuple[str, int], int] = {}
        self._last: int | None = None
        self._stopping = False
        self._alone = len(hosts) == 1

    def read(self, raw: str) -> Line:
        """The next line."""
        text = COLOUR.sub("", raw).rstrip()
        nccl = nccl_log.parse(text)
        rank, text = self._whose(text, nccl)
        id, known, harmless = explained(text)
        self._stopping = self._stopping or text.startswith(engine_causes.STOPPING)
        if self._stopping and id in engine_causes.BY_US:
            id, known, harmless = "", "", False
        level = "error" if _ERROR.search(text) else "warning" if _WARNING.search(text) else "info"
        if nccl is not None:
            level = "error" if nccl.warning else "info"
        if known and not harmless:
            level = "error"
        return Line(text, rank, level, known, id, harmless)

    def _whose(self, text: str, nccl: NcclLine | None) -> tuple[int | None, str]:
        if tag := _TAG.search(text):
            self._last = int(tag[1])
            return self._last, text[tag.end() :]
        if self._alone:
            return 0, text
        if text.startswith("[trtspark]") or text.startswith("INFO:  "):
            self._last = 0  # only rank 0 has these: its launcher, and the HTTP server
        elif marked := _RANK.search(text):
            self._last = int(marked[1])
        elif nccl is not None:
            self._last = self._by_process(nccl)
        elif not _CONTINUES.search(text):
            self._last = None
        return self._last, text

    def _by_process(self, line: NcclLine) -> int | None:
        if (own := line.own_rank) and own[1] == (self._size or own[1]):
            self._processes.setdefault(line.process, own[0])
        return self._processes.get(line.process, self._hosts.get(line.host))


def explained(text: str) -> tuple[str, str, bool]:
    """(the row's id, one sentence on it, whether it is harmless); empty when nothing is known of the line."""
    if (ended := _EXIT.search(text)) and (sentence := exits.explained(int(ended[1]))):
        return f"exit-{ended[1]}", sentence, not exits.EXITS[int(ended[1])].todo
    if cause := transport_causes.recognised(text):
        return cause.id, f"{cause.means}: {cause.todo}", False
    if row := engine_causes.recognised(text):
        return row.id, row.sentence, row.harmless
    return "", "", False
