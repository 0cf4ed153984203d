"""The lines that NCCL prints: the one parser of their prefix, and what their text shows.

Forms, from `ncclDebugLog` in NCCL's debug.cc, the same from 2.27 to 2.30 but for the function's name:

    vm:770:770 [0] NCCL INFO NET/IB : No device found.
    [2026-11-28 16:39:37] vm:770:770 [0] plugin/net.cc:379 NCCL WARN Failed to initialize any NET plugin
    [2026-09-01 10:00:00] n2:412:480 [0] misc/ibvwrap.cc:380 (wrap_ibv_modify_qp) NCCL WARN Call to ibv_…

NCCL_DEBUG_TIMESTAMP_LEVELS (WARN unless set) puts a time stamp before a level's lines, in the form of
NCCL_DEBUG_TIMESTAMP_FORMAT, which is free text. A warning has its file and line before `NCCL WARN`, and from
2.30 on the function in parentheses. NCCL begins a warning with an empty line. mpirun may put its own tag
before everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LEVEL = re.compile(r" NCCL (WARN|INFO|TRACE|CALL|ABORT)(?= |$)")
#: Longer than any prefix: NCCL's own buffer is 1024 bytes with the message.
_LONGEST_PREFIX = 512
_DEVICE = re.compile(r"\[-?\d{1,9}\]$")
_SOURCE = re.compile(r"\S+:\d{1,9}$")
#: A time stamp's or mpirun's last character may touch the name.
_HOST = re.compile(r"[\w.-]+$")

_INIT_RANK = re.compile(r"\bncclCommInitRank\w{0,32} comm \S{1,32} rank (\d{1,6}) nranks (\d{1,6})\b")
_USING = re.compile(r"NET/(IB|Socket)(?:ext_v\d{1,4})? : Using (\[0\].*)")
_PORT = re.compile(r"\[\d{1,4}\]([^\s:\[\]]+):\d{1,4}/RoCE$")
_INTERFACE = re.compile(r"\[\d{1,4}\]([^\s\[\]]+):[\d.]{7,15}<\d{1,5}>$")
#: Lines that show an address of the rank that wrote them; `Bootstrap :` was printed before 2.27.
_OWN_ADDRESS = re.compile(
    r"(?:^Bootstrap ?: Using |; OOB |^NET/Socket : Using \[0\])[^\s:]{1,64}:([\d.]{7,15})<"
)


@dataclass(frozen=True)
class NcclLine:
    """One line. `source` is `FILE:LINE`, `function` its function, both "" where the line has none."""

    host: str
    pid: int
    tid: int
    level: str
    """WARN, INFO, TRACE, CALL or ABORT."""
    text: str
    source: str = ""
    function: str = ""

    @property
    def process(self) -> tuple[str, int]:
        """What tells two writers apart where host names differ."""
        return self.host, self.pid

    @property
    def warning(self) -> bool:
        """Whether NCCL calls it a warning, which is its word for every error."""
        return self.level == "WARN"

    @property
    def own_address(self) -> str:
        """The writer's own IPv4 address, if this line shows it; else ""."""
        found = _OWN_ADDRESS.search(self.text)
        return found[1] if found else ""

    @property
    def own_rank(self) -> tuple[int, int] | None:
        """(the writer's rank, number of ranks) in the communicator that this line is about."""
        found = _INIT_RANK.search(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def opened(self) -> tuple[str, tuple[str, ...]] | None:
        """("IB", RDMA devices) or ("Socket", interfaces) if the line says what NCCL opened.

        `NET/IB : Using [RO]; OOB …`, which follows `NET/IB : No device found.`, opened nothing.
        """
        found = _USING.match(self.text)
        if not found:
            return None
        form = _PORT if found[1] == "IB" else _INTERFACE
        names = (match[1] for word in found[2].split() if (match := form.match(word)))
        return found[1], tuple(names)


def parse(line: str) -> NcclLine | None:
    """The line's parts; None for a line that is not NCCL's. Takes time linear in the line's length."""
    level = _LEVEL.search(line)
    if level is None:
        return None
    words = line[max(0, level.start() - _LONGEST_PREFIX) : level.start()].split()
    function = words.pop()[1:-1] if words and words[-1].startswith("(") and words[-1].endswith(")") else ""
    source = words.pop() if words and _SOURCE.match(words[-1]) and not _writer(words) else ""
    if level[1] == "TRACE" and len(words) > 1 and not _DEVICE.match(words[-1]):
        words.pop()  # milliseconds since the start
    if words and _DEVICE.match(words[-1]):
        words.pop()
    elif level[1] != "CALL":
        return None
    writer = _writer(words)
    if writer is None:
        return None
    return NcclLine(*writer, level[1], line[level.end() :].strip(), source, function)


def parse_all(lines: Sequence[str]) -> list[NcclLine]:
    """NCCL's lines among others."""
    return [found for line in lines if (found := parse(line)) is not None]


def _writer(words: Sequence[str]) -> tuple[str, int, int] | None:
    """(host, pid, tid) of the last word; the short host name, as NCCL cuts it at the first dot."""
    name, *numbers = words[-1].rsplit(":", 2) if words else [""]
    host = _HOST.search(name[-256:])
    if (
        len(numbers) != 2
        or host is None
        or not all(n.isascii() and n.isdecimal() and len(n) < 12 for n in numbers)
    ):
        return None
    return host[0], int(numbers[0]), int(numbers[1])
