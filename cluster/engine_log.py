"""Reading the engine's log: which transport NCCL really opened, and what went wrong.

NCCL's lines are read by cluster/nccl_log.py; TensorRT-LLM's are as logged on the Spark and elsewhere by
versions 1.2 to 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import engine_causes, nccl_log


@dataclass(frozen=True)
class RankTransport:
    """What one rank's NCCL reported. `devices`: RDMA devices with IB, interfaces with Socket."""

    host: str
    transport: str
    devices: tuple[str, ...]


def transports(lines: Sequence[str]) -> tuple[RankTransport, ...]:
    """The last transport each host reported, in the order of first appearance."""
    found: dict[str, RankTransport] = {}
    for line in nccl_log.parse_all(lines):
        if opened := line.opened:
            found[line.host] = RankTransport(line.host, *opened)
    return tuple(found.values())


#: Causes that NCCL's own lines tell more about: which rank, and what to do there.
OF_NCCL = (engine_causes.NCCL_FAILED, engine_causes.LINK_EVENT)
_FATAL = re.compile(r"Executor worker (returned error|initialization error|died)")
#: Warnings after which NCCL's start returns an error.
_NCCL_FATAL = ("Failed to initialize any NET plugin", "Bootstrap : no socket interface found")
_ERROR = re.compile(r"(\b\w*(Error|Exception)\b: |\[E\] |^Error: |\bERROR: )")


def cause(lines: Sequence[str]) -> str:
    """One sentence on why the engine failed: what it means, and the line that says so; "" if unknown.

    Of the lines that the table knows, the first row of the table counts, and of that row the last line. A
    passing row counts when no error comes after it.
    """
    told, stopping = [], False
    for line in lines:
        known = engine_causes.row(line)
        stopping = stopping or line.startswith(engine_causes.STOPPING)
        if known is None or not (known.harmless or (stopping and known.id in engine_causes.BY_US)):
            told.append(line)
    for passing in (False, True):
        for one in engine_causes.CAUSES:
            for place in reversed(range(len(told) if one.passing == passing and not one.harmless else 0)):
                if one.pattern.search(told[place]) and not (passing and _error(told[place + 1 :])):
                    return f"{one.sentence} ({told[place].strip()[:200]})"
    return _error(told)


def _error(lines: Sequence[str]) -> str:
    """The last line that looks like an error; "" when none does."""
    return next((line.strip()[:300] for line in reversed(lines) if _ERROR.search(line)), "")


def fatal(line: str) -> bool:
    """Whether a line means that this start cannot succeed any more, though nothing may end by itself."""
    if (found := nccl_log.parse(line)) is not None:
        return found.warning and found.text.startswith(_NCCL_FATAL)
    return bool(_FATAL.search(line))
