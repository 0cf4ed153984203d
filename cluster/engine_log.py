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


NCCL_FAILED = engine_causes.NCCL_FAILED
_FATAL = re.compile(r"Executor worker (returned error|initialization error|died)")
#: Warnings after which NCCL's start returns an error.
_NCCL_FATAL = ("Failed to initialize any NET plugin", "Bootstrap : no socket interface found")
_ERROR = re.compile(r"(\b\w*(Error|Exception)\b: |\[E\] |^Error: |\bERROR: )")


def cause(lines: Sequence[str]) -> str:
    """One sentence on why the engine failed: what it means, and the line that says so; "" if unknown."""
    for known in engine_causes.CAUSES:
        for line in () if known.harmless else reversed(lines):
            if known.pattern.search(line):
                return f"{known.sentence} ({line.strip()[:200]})"
    for line in reversed(lines):
        if _ERROR.search(line):
            return line.strip()[:300]
    return ""


def fatal(line: str) -> bool:
    """Whether a line means that this start cannot succeed any more, though nothing may end by itself."""
    if (found := nccl_log.parse(line)) is not None:
        return found.warning and found.text.startswith(_NCCL_FATAL)
    return bool(_FATAL.search(line))
