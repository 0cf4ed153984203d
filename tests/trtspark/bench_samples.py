"""Results as a run makes them: from answers with times of a known distribution."""

from __future__ import annotations

import random
from array import array
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cluster import engine
from tests import samples
from trtspark.bench import measure, rows, system
from trtspark.bench.load import Load, Run
from trtspark.bench.results import (
    EngineSamples,
    Figures,
    NodeSamples,
    Result,
    Samples,
    ServerInfo,
    SystemInfo,
    TokenizerInfo,
    Workload,
)
from trtspark.bench.stream import Answer

SECOND = 1_000_000_000


def answer(start: float, ttft: float, gap: float, tokens: int, prompt: int) -> Answer:
    first = start + ttft
    stamps = array("q", (int((first + number * gap) * SECOND) for number in range(tokens)))
    return Answer(
        started=int(start * SECOND),
        ended=stamps[-1] + 1000,
        tokens=stamps,
        prompt_tokens=prompt,
        output_tokens=tokens,
        finish_reason="length",
    )


def run(concurrency: int = 4, requests: int = 40, seed: int = 0, slower: float = 1.0) -> Run:
    """A closed loop against a server whose time per token grows with the batch."""
    chance = random.Random(seed)
    free = [1.0] * concurrency
    answers = []
    for _ in range(requests):
        user = min(range(concurrency), key=free.__getitem__)
        prompt = chance.choice([100, 200, 400, 800])
        ttft = slower * (0.05 + prompt / 4000) * chance.uniform(0.9, 1.2)
        gap = slower * (0.02 + 0.0005 * concurrency) * chance.uniform(0.95, 1.1)
        one = answer(free[user], ttft, gap, 64, prompt)
        free[user] = one.ended / SECOND
        answers.append(one)
    answers.sort(key=lambda each: each.started)
    made = Run(Load(requests, concurrency), answers, began=SECOND, ended=max(a.ended for a in answers))
    made.lags = array("L", [20, 30, 25, 90])
    made.cpu_ns = SECOND // 50
    return made


def result(
    concurrency: int = 4, requests: int = 40, seed: int = 0, slower: float = 1.0, **changes: Any
) -> Result:
    done = run(concurrency, requests, seed, slower)
    found = measure.figures(done)
    notes = found.pop("notes")
    values: dict[str, Any] = {
        "started": datetime(2026, 11, 24, 1, 2, 3, 456000, tzinfo=UTC),
        "complete": True,
        "workload": Workload(
            profile="quick", requests=requests, input_tokens=128, output_tokens=64, concurrency=concurrency
        ),
        "tokenizer": TokenizerInfo(exact=True, source="tokenizer.json"),
        "server": ServerInfo(url="http://10.24.11.11:8355", model="openai/gpt-oss-120b", version="1.3.0rc5"),
        "client": system.client(),
        "figures": Figures.model_validate(found),
        "notes": notes,
        "rows": rows.rows(done),
        "timeline": rows.timeline(done),
        **changes,
    }
    return Result(**values)


def machine_samples(done: Run, nodes: int = 2) -> Samples:
    """What would be sampled beside such a run, once a second."""
    chance = random.Random(1)
    seconds = int((done.ended - done.began) / SECOND)
    times = [float(second) for second in range(seconds)]
    return Samples(
        nodes=[
            NodeSamples(
                node=f"spark-{number + 1}",
                t_s=times,
                power_w=[chance.uniform(40, 60) for _ in times],
                temperature_c=[40 + second for second in times],
                gpu_busy=[chance.uniform(0.8, 1) for _ in times],
                sm_clock_mhz=[2400.0 for _ in times],
                slowdown=[],
                cpu_busy=[chance.uniform(0.05, 0.1) for _ in times],
                memory_available_bytes=[20 << 30 for _ in times],
                fabric_sent_bytes_per_s=[chance.uniform(1e9, 3e9) for _ in times],
                fabric_received_bytes_per_s=[chance.uniform(1e9, 3e9) for _ in times],
            )
            for number in range(nodes)
        ],
        engine=EngineSamples(
            t_s=times,
            iterations=[40 for _ in times],
            iteration_ms=[chance.uniform(22, 26) for _ in times],
            batch=[chance.uniform(3, 4) for _ in times],
            most_batch=4,
            queued=[0.0 for _ in times],
            paused=[0.0 for _ in times],
            kv_use=[chance.uniform(0.2, 0.4) for _ in times],
        ),
        energy_j=100.0 * seconds,
        tokens_per_j=1.21,
        limits=["the GPUs: busy 90 % of the time, and the batch was full"],
    )


def system_info() -> SystemInfo:
    """A pair's."""
    settings = samples.settings(2)
    return SystemInfo(
        stack="dgx",
        config=system.public(settings),
        engine=asdict(engine.resolve(settings)),
        image="nvcr.io/nvidia/tensorrt-llm/release@sha256:" + "a1" * 32,
        revision=samples.COMMIT,
        transport=["rank 0: NET/IB over rocep1s0f0 and roceP2p1s0f0", "rank 1: the same"],
        fabric=["192.168.100.0/24: MTU 9000, 92 Gb/s", "192.168.101.0/24: MTU 9000, 91 Gb/s"],
        nodes=[system.of_facts(one) for one in samples.facts(2)],
    )
