"""Reading the engine's log: which transport NCCL really opened, and what went wrong.

Line forms: NCCL's own INFO lines (`host:pid:tid [dev] NCCL INFO NET/IB : Using …`) and TensorRT-LLM's,
as logged on the Spark and elsewhere by versions 1.2 to 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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


NCCL_FAILED = "NCCL could not connect the ranks"

#: A sign in the log -> what it means and what to do. The first that matches counts.
_CAUSES: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"out of memory|insufficient GPU memory|Impossible to fit in any sequence",
            "out of memory: lower gpuMemoryFraction or maxNumTokens, or choose a smaller model",
        ),
        (
            r"Unknown architecture for",
            "this version of the engine does not know the model's architecture: another image or model",
        ),
        (
            r"Address already in use|address already in use",
            "the port is taken on the head: stop the other program or set another port",
        ),
        (
            r"No such option|Extra inputs are not permitted|Invalid value for",
            "the engine refuses an option: check extraArgs against the image's version",
        ),
        (
            r"LocalEntryNotFoundError|No weight files found|No such file or directory.*safetensors",
            "a file of the model is missing on a node: compare the caches, run `hf download` again",
        ),
        (r"NCCL error|ibv_modify_qp failed|unhandled system error", NCCL_FAILED),
        (
            r"No GPU devices found|GPUs are available, but",
            "the container sees no GPU: check `docker info` for the nvidia runtime",
        ),
        (r"waiting for rank|gave up: rank", "a worker's container did not answer over ssh"),
        (
            r"Executor worker returned error|Executor worker initialization error",
            "the engine crashed while loading",
        ),
    )
)
_FATAL = re.compile(
    r"Executor worker (returned error|initialization error|died)"
    r"|NCCL WARN Failed to initialize any NET plugin"
)
_ERROR = re.compile(r"(\b\w*(Error|Exception)\b: |\[E\] |^Error: |\bERROR: )")


def cause(lines: Sequence[str]) -> str:
    """One sentence on why the engine failed: what it means, and the line that says so; "" if unknown."""
    for pattern, advice in _CAUSES:
        for line in reversed(lines):
            if pattern.search(line):
                return f"{advice} ({line.strip()[:200]})"
    for line in reversed(lines):
        if _ERROR.search(line):
            return line.strip()[:300]
    return ""


def fatal(line: str) -> bool:
    """Whether a line means that this start cannot succeed any more, though nothing may end by itself."""
    return bool(_FATAL.search(line))
