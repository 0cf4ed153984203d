"""What seems to have limited a run, from what was sampled beside it; and the energy it took. Pure.

Each sentence names what was seen and, where there is something to do, what. No sentence is no proof that
nothing did: only what is sampled can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from trtspark.bench.results import Figures, NodeSamples, Samples, SystemInfo, Workload

FULL = 0.95
BUSY = 0.90
IDLE = 0.50
#: Of the rate that the links have: more is rarely reached.
FABRIC_FULL = 0.7
CPU_FULL = 0.9
LEAST_MEMORY = 2 << 30
#: Power at fewer moments than this is no energy.
FEWEST_MOMENTS = 2


def energy(nodes: Sequence[NodeSamples], seconds: float) -> float | None:
    """Joules of all GPUs over the run: mean power times its length. None where one has no power, or too few
    samples.
    """
    if not nodes:
        return None
    total = 0.0
    for node in nodes:
        known = [watts for watts in node.power_w if watts is not None]
        if len(known) < FEWEST_MOMENTS:
            return None
        total += fmean(known) * seconds
    return total


def limits(samples: Samples, figures: Figures, workload: Workload, system: SystemInfo | None) -> list[str]:
    """A sentence for each, the most certain first."""
    found = []
    if figures.client.bottleneck:
        found.append("the client itself: measure from a quicker or quieter machine")
    found += _engine(samples, workload, system)
    found += [text for node in samples.nodes for text in _node(node)]
    found += _fabric(samples, system)
    found += _gpus(samples, bool(found))
    return found


def _engine(samples: Samples, workload: Workload, system: SystemInfo | None) -> Iterable[str]:
    engine = samples.engine
    most = (engine.most_batch if engine else None) or (
        system.engine.get("max_batch_size") if system else None
    )
    waited = _top(engine.queued) if engine else None
    if most and waited:
        yield f"the batch: {most} requests fit (maxBatchSize) and up to {waited:.0f} waited"
    elif most and engine is None and workload.rate_per_s is None and workload.concurrency > most:
        at_once = workload.concurrency
        yield f"the batch: {at_once} requests at once, and {most} fit (maxBatchSize): the others waited"
    if engine is None:
        return
    cache, paused = _top(engine.kv_use), _top(engine.paused)
    if (cache is not None and cache >= FULL) or paused:
        yield f"the KV cache: up to {cache or 0:.0%} in use, {paused or 0:.0f} requests paused"


def _node(node: NodeSamples) -> Iterable[str]:
    if node.slowdown:
        hottest = _top(node.temperature_c)
        heat = f", {hottest:.0f} °C at most" if hottest is not None else ""
        yield f"the clocks of {node.node} were held back: {', '.join(node.slowdown)}{heat}"
    busy = _mean(node.cpu_busy)
    if busy is not None and busy > CPU_FULL:
        yield f"the processor cores of {node.node}: {busy:.0%} busy"
    left = min((each for each in node.memory_available_bytes if each is not None), default=None)
    if left is not None and left < LEAST_MEMORY:
        yield f"the memory of {node.node}: {left / (1 << 30):.1f} GiB left"


def _fabric(samples: Samples, system: SystemInfo | None) -> Iterable[str]:
    if system is None:
        return
    rates = {
        str(node.get("node")): sum(hca["rate_gbps"] for hca in node.get("hcas", ()) if hca.get("active"))
        for node in system.nodes
    }
    for node in samples.nodes:
        top, most = _top(node.fabric_sent_bytes_per_s), rates.get(node.node)
        if top and most and top * 8e-9 > FABRIC_FULL * most:
            yield f"the fabric of {node.node}: {top * 8e-9:.0f} of {most} Gb/s sent"


def _gpus(samples: Samples, explained: bool) -> Iterable[str]:
    means = [mean for node in samples.nodes if (mean := _mean(node.gpu_busy)) is not None]
    if not means:
        return
    shown = ", ".join(f"{mean:.0%}" for mean in means)
    if min(means) >= BUSY:
        yield f"the GPUs: {shown} busy"
    elif max(means) < IDLE and not explained:
        yield f"not the GPUs: {shown} busy; more requests at once would use them better"


def _top(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return fmean(known) if known else None
