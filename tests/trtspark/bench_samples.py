"""Results as a run makes them: from answers with times of a known distribution."""

from __future__ import annotations

import random
from array import array
from datetime import UTC, datetime
from typing import Any

from trtspark.bench import measure, rows, system
from trtspark.bench.load import Load, Run
from trtspark.bench.results import Figures, Result, ServerInfo, TokenizerInfo, Workload
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
