"""Reading the engine's log: which transport NCCL really opened, and what went wrong.

Line forms: NCCL's own INFO lines (`host:pid:tid [dev] NCCL INFO NET/IB : Using …`) and TensorRT-LLM's,
as logged on the Spark and elsewhere by versions 1.2 to 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import engine_causes

#: HPC-X's plugin calls itself IBext_vN.
_USING = re.compile(r"(\S+?):\d+:\d+ \[\d+\] NCCL INFO NET/(IB|Socket)(?:ext_v\d+)? : Using (\[0\].*)$")
_DEVICE = re.compile(r"\[\d+\](\S+?):\d+/RoCE")


@dataclass(frozen=True)
class RankTransport:
    """What one rank's NCCL reported."""

    host: str
    transport: str
    devices: tuple[str, ...]


def transports(lines: Sequence[str]) -> tuple[RankTransport, ...]:
    """The last transport each host reported, in the order of first appearance."""
    found: dict[str, RankTransport] = {}
    for line in lines:
        if match := _USING.search(line):
            host, transport, rest = match.groups()
            found[host] = RankTransport(host, transport, tuple(_DEVICE.findall(rest)))
    return tuple(found.values())


NCCL_FAILED = engine_causes.NCCL_FAILED
_FATAL = re.compile(
    r"Executor worker (returned error|initialization error|died)"
    r"|NCCL WARN Failed to initialize any NET plugin"
)
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
    return bool(_FATAL.search(line))
