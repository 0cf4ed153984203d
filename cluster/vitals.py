"""What a node and an engine are doing, from their raw words. `[N/A]` is never a number: it is None.

remote/node/vitals.py samples a node; /metrics is the engine's list of iterations, /prometheus/metrics its
counters (TensorRT-LLM's serve, 1.2 to 1.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import affinity, link_errors
from cluster.parsing import rdma

_RATE = re.compile(r"^(\d+(?:\.\d+)?) Gb/sec")
_PROMETHEUS = re.compile(r"(?m)^(?:trtllm_)?(\w+?)(?:\{[^}]*\})? (\S+)$")


@dataclass(frozen=True)
class Gpu:
    """Per cent, degrees Celsius, watts, MHz; None where the GPU does not tell."""

    use: float | None = None
    temperature: float | None = None
    power: float | None = None
    clock: float | None = None


@dataclass(frozen=True)
class Port:
    """One half of a cable: link rate, and what flows in and out now, in Gb/s (None: not known yet)."""

    device: str
    netdev: str
    rate: float | None
    incoming: float | None = None
    outgoing: float | None = None
    slow_pcie: str = ""
    """Its PCIe link, where that is narrower or slower than a Spark's: "x2 at 32 GT/s"."""
    losing: str = ""
    """What its counters say of lost packets since the look before; "" of a good link."""
    todo: str = ""
    """What to do about that."""


@dataclass(frozen=True)
class Rank:
    """A rank's container. `age` in seconds; `restarts`: how often this same rank ended before, as far as
    Docker remembers; `confined`: which of its threads may not use every CPU, "" when all may.
    """

    number: int
    state: str
    status: str
    age: float
    restarts: int
    spec: str
    confined: str = ""


@dataclass(frozen=True)
class Vitals:
    """One node now. Memory in bytes, shared with the GPU; `services`: the specs of the ranks' services by
    rank, as Swarm's manager has them (None elsewhere); `problem` is "" or a sentence.
    """

    node: str
    gpu: Gpu = Gpu()
    memory: int = 0
    available: int = 0
    ranks: tuple[Rank, ...] = ()
    ports: tuple[Port, ...] = ()
    services: Mapping[int, Mapping[str, Any]] | None = None
    problem: str = ""


@dataclass(frozen=True)
class Load:
    """What the engine does. Tokens per second; None where it does not tell."""

    running: int | None = None
    waiting: int | None = None
    tokens_per_second: float | None = None


def number(text: str) -> float | None:
    """A cell of nvidia-smi; None for "[N/A]", "Not Supported" and anything else that is no number."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if found == found and abs(found) != float("inf") else None


def vitals(node: str, sample: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Vitals:
    """A node's sample as facts; flows by the difference to the one `before`."""
    cells = [number(cell.strip()) for cell in sample["gpu"].split(",")] if sample["gpu"] else []
    memory, services = sample["meminfo"], sample.get("services")
    return Vitals(
        node=node,
        gpu=Gpu(*cells[:4]) if len(cells) == 4 else Gpu(),
        memory=1024 * int(memory.get("MemTotal", 0)),
        available=1024 * int(memory.get("MemAvailable", 0)),
        ranks=_ranks(sample["ranks"]),
        ports=tuple(_port(port, sample, before) for port in sample["ports"]),
        services=None if services is None else {int(one["rank"]): one["spec"] for one in services},
        problem=sample["problem"],
    )


def _ranks(listed: Sequence[Mapping[str, Any]]) -> tuple[Rank, ...]:
    """The newest container of each rank; older ones of the same spec were restarted."""
    found: dict[int, Rank] = {}
    for rank in sorted({int(one["rank"]) for one in listed}):
        mine = [one for one in listed if int(one["rank"]) == rank]
        newest = mine[0]
        again = sum(one["spec"] == newest["spec"] and one["state"] != "running" for one in mine[1:])
        found[rank] = Rank(
            rank,
            newest["state"],
            newest["status"],
            float(newest["age"]),
            again,
            newest["spec"],
            affinity.confined(newest.get("processes") or []),
        )
    return tuple(found.values())


def _port(port: Mapping[str, Any], sample: Mapping[str, Any], before: Mapping[str, Any] | None) -> Port:
    rate = _RATE.match(port["rate"])
    link = rdma.pcie(port.get("pcie") or {})
    old = next((one for one in (before or {}).get("ports", ()) if one["device"] == port["device"]), None)
    seconds = float(sample["time"]) - float(before["time"]) if before else 0.0
    flows: dict[str, float | None] = {"in": None, "out": None}
    if old and seconds > 0:
        for way in flows:
            moved = port[way] - old[way]
            # A counter that went back was reset.
            flows[way] = 8 * moved / seconds / 1e9 if moved >= 0 else None
    grown = link_errors.growth(port.get("errors") or {}, old.get("errors") or {}) if old else {}
    losing = link_errors.said(grown)
    return Port(
        port["device"],
        port["netdev"],
        float(rate.group(1)) if rate else None,
        flows["in"],
        flows["out"],
        str(link) if link and link.slow else "",
        losing,
        link_errors.todo(port["netdev"] or port["device"], grown) if losing else "",
    )


def drained(items: Sequence[Mapping[str, Any]], seconds: float) -> Load:
    """From the iterations since the last read of /metrics, `seconds` ago; none: nothing ran."""
    if not items:
        return Load(0, 0, 0.0)
    tokens = 0.0
    for item in items:
        batch = item.get("inflightBatchingStats") or {}
        each = float(batch.get("avgNumDecodedTokensPerIter") or 1.0)
        tokens += int(batch.get("numGenRequests") or 0) * each
    last = items[-1]
    return Load(
        running=int(last.get("numActiveRequests") or 0),
        waiting=int(last.get("numQueuedRequests") or 0),
        tokens_per_second=tokens / seconds if seconds > 0 else None,
    )


def counters(text: str) -> dict[str, float]:
    """Prometheus text: the sum of each name over its labels, without the newer versions' prefix."""
    found: dict[str, float] = {}
    for name, value in _PROMETHEUS.findall(text):
        figure = number(value)
        if figure is not None:
            found[name] = found.get(name, 0.0) + figure
    return found


def counted(now: Mapping[str, float], before: Mapping[str, float] | None, seconds: float) -> Load | None:
    """From two reads of the counters; None where this version has none of tokens."""
    if "generation_tokens_total" not in now or "num_requests_running" not in now:
        return None
    rate = None
    if before and seconds > 0:
        moved = now["generation_tokens_total"] - before.get("generation_tokens_total", 0.0)
        rate = moved / seconds if moved >= 0 else None
    waiting = now.get("num_requests_waiting")
    return Load(int(now["num_requests_running"]), None if waiting is None else int(waiting), rate)
