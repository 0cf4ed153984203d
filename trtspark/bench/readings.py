"""What was sampled, as columns over the run: rates from counters, numbers from nvidia-smi's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from trtspark.bench.results import EngineSamples, NodeSamples

#: nvidia-smi's clocks_event_reasons, bit by bit; those of an idle GPU or of chosen clocks are no slowdown.
SLOWDOWNS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "temperature (software)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}

Stamped = tuple[int, Mapping[str, Any]]


def node_samples(name: str, lines: Sequence[Stamped], began: int, ended: int) -> NodeSamples:
    """From the sampler's lines, stamped by the client's clock (ns); those outside of the run only serve for
    the first difference.
    """
    found = NodeSamples(
        node=name,
        t_s=[],
        power_w=[],
        temperature_c=[],
        gpu_busy=[],
        sm_clock_mhz=[],
        slowdown=[],
        cpu_busy=[],
        memory_available_bytes=[],
        fabric_sent_bytes_per_s=[],
        fabric_received_bytes_per_s=[],
    )
    slow: dict[str, None] = {}
    before: Mapping[str, Any] | None = None
    for stamp, sample in lines:
        if began <= stamp <= ended:
            gpu = sample.get("gpu") or {}
            busy = real(gpu.get("utilization.gpu"))
            found.t_s.append(round((stamp - began) / 1e9, 3))
            found.power_w.append(real(gpu.get("power.draw")))
            found.temperature_c.append(real(gpu.get("temperature.gpu")))
            found.gpu_busy.append(None if busy is None else busy / 100)
            found.sm_clock_mhz.append(real(gpu.get("clocks.sm")))
            found.cpu_busy.append(_cpu(before, sample))
            found.memory_available_bytes.append(sample.get("memory"))
            sent, received = _fabric(before, sample)
            found.fabric_sent_bytes_per_s.append(sent)
            found.fabric_received_bytes_per_s.append(received)
            slow |= dict.fromkeys(slowdowns(gpu.get("clocks_event_reasons.active")))
        before = sample
    found.slowdown.extend(slow)
    return found


def real(text: object) -> float | None:
    """A number as nvidia-smi writes it, with or without its unit; None for [N/A] and the like."""
    try:
        return float(str(text).split()[0])
    except (ValueError, IndexError):
        return None


def slowdowns(mask: object) -> Iterable[str]:
    """Why clocks are held back: 0x…20 is temperature."""
    try:
        bits = int(str(mask), 16)
    except ValueError:
        return []
    return [words for bit, words in SLOWDOWNS.items() if bits & bit]


def _cpu(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> float | None:
    old, new = (before or {}).get("cpu"), now.get("cpu")
    if not old or not new or new[1] <= old[1]:
        return None
    return float(round((new[0] - old[0]) / (new[1] - old[1]), 4))


def _fabric(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Bytes a second over all adapters that both samples have; a counter that went back says nothing."""
    if before is None or now["t"] <= before["t"]:
        return None, None
    old, new = before.get("hca") or {}, now.get("hca") or {}
    pairs = [(old[name], new[name]) for name in new if name in old]
    if not pairs:
        return None, None
    seconds = now["t"] - before["t"]
    ways = [sum(later[way] - earlier[way] for earlier, later in pairs) for way in (0, 1)]
    sent, received = (float(round(moved / seconds)) if moved >= 0 else None for moved in ways)
    return sent, received


def engine_samples(
    answers: Sequence[tuple[int, Sequence[Mapping[str, Any]]]], began: int, ended: int
) -> EngineSamples | None:
    """From what /metrics gave each time; None where it never gave anything."""
    found = EngineSamples(
        t_s=[], iterations=[], iteration_ms=[], batch=[], queued=[], paused=[], kv_use=[], most_batch=None
    )
    for stamp, items in answers:
        if stamp < began or not items:
            continue
        found.t_s.append(round((min(stamp, ended) - began) / 1e9, 3))
        found.iterations.append(len(items))
        found.iteration_ms.append(_mean(one.get("iterLatencyMS") for one in items))
        found.batch.append(_mean(_scheduled(one) for one in items))
        found.queued.append(_mean(one.get("numQueuedRequests") for one in items))
        found.paused.append(
            _mean((one.get("inflightBatchingStats") or {}).get("numPausedRequests") for one in items)
        )
        found.kv_use.append(_mean(_kv(one) for one in items))
        most = max((one.get("maxBatchSizeRuntime") or 0 for one in items), default=0)
        found.most_batch = max(found.most_batch or 0, most) or None
    return found if found.t_s else None


def _scheduled(one: Mapping[str, Any]) -> Any:
    batching = one.get("inflightBatchingStats") or {}
    return batching.get("numScheduledRequests", one.get("numActiveRequests"))


def _kv(one: Mapping[str, Any]) -> float | None:
    cache = one.get("kvCacheStats") or {}
    most = cache.get("maxNumBlocks")
    return cache.get("usedNumBlocks", 0) / most if most else None


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if isinstance(value, (int, float))]
    return round(fmean(known), 5) if known else None
