"""One workload against one server, from the prompts to the result."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import uvloop

from cluster.errors import NotReady
from trtspark.bench import measure, prompts, rows, server, system
from trtspark.bench.load import Load, Run, drive
from trtspark.bench.measure import Slo
from trtspark.bench.prompts import Prompt, Tokenizer
from trtspark.bench.results import (
    Figures,
    Result,
    Samples,
    ServerInfo,
    SystemInfo,
    TokenizerInfo,
    Workload,
)
from trtspark.bench.server import Agreement
from trtspark.bench.stream import Answer, Target

#: Prompts made for a run that the clock ends; then they come again.
MOST_PROMPTS = 2000
#: Warm-up prompts are others than the run's: a prefix that is cached already would be no prefill.
WARMUP_SEED = 0x5EED
AGREE_TIMEOUT_S = 120


class Screen(Protocol):
    """What a person sees while it runs."""

    def begin(self, what: str, total: int | None) -> None:
        """A phase starts; `total` requests, None where the clock ends it."""
        ...

    def told(self, answer: Answer) -> None:
        """A request is done."""
        ...

    def stopping(self, again: bool) -> None:
        """Ctrl-C was pressed, once or again."""
        ...

    def end(self) -> None:
        """The phase is over."""
        ...


class Watch(Protocol):
    """What samples beside the run."""

    def start(self) -> None:
        """The run is about to begin."""
        ...

    def stop(self, run: Run, figures: Figures, workload: Workload) -> Samples:
        """The run is over."""
        ...

    def end(self) -> None:
        """Nothing of it stays, however the run ended."""
        ...


@dataclass
class Place:
    """What is asked: a server, its model, what counts its tokens, and what is known of its machines."""

    target: Target
    model: str
    tokenizer: Tokenizer
    tokenizer_info: TokenizerInfo
    version: str | None = None
    system: SystemInfo | None = None
    notes: list[str] = field(default_factory=list)
    watch: Watch | None = None
    agreement: Agreement | None = None


def made_prompts(workload: Workload, tokenizer: Tokenizer, dataset: Path | None) -> list[Prompt]:
    """As many as requests, or MOST_PROMPTS where there are more. Raises ConfigError."""
    count = min(workload.requests, MOST_PROMPTS) if workload.duration_s else workload.requests
    if dataset is not None:
        return prompts.dataset(dataset, tokenizer, count, workload.output_tokens, workload.seed)
    assert workload.input_tokens is not None
    assert workload.output_tokens is not None
    made = prompts.synthetic(tokenizer, count, workload.input_tokens, workload.output_tokens, workload.seed)
    return list(made)


def run(
    place: Place,
    workload: Workload,
    screen: Screen,
    slo: Slo | None = None,
    dataset: Path | None = None,
    sweep: str | None = None,
) -> Result:
    """Agree on the request, warm up, measure. Ctrl-C ends it early with what there is; again cuts it off.

    Raises ConfigError, or NotReady where the server does not answer.
    """
    chosen = made_prompts(workload, place.tokenizer, dataset)
    bodies = [prompts.body(prompt, place.model) for prompt in chosen]
    if place.agreement is None:
        place.agreement = server.agreed(place.target, {**bodies[0], "max_tokens": 1}, AGREE_TIMEOUT_S)
    bodies = [place.agreement.apply(body) for body in bodies]
    started = datetime.now(UTC)
    try:
        done = uvloop.run(_phases(place, workload, bodies, screen))
    except (OSError, TimeoutError) as error:
        raise NotReady(f"{place.target.url} takes no connection: {error}") from None
    finally:
        if place.watch is not None:
            place.watch.end()
    found = measure.figures(done, slo)
    notes = [*place.notes, *place.agreement.notes(), *found.pop("notes"), *_short(done, chosen, workload)]
    if not place.tokenizer.exact:
        notes.append(f"prompt lengths are {place.tokenizer_info.source}")
    figures = Figures.model_validate(found)
    samples = place.watch.stop(done, figures, workload) if place.watch is not None else None
    if samples is not None:
        notes += _unseen(samples)
    return Result(
        started=started,
        sweep=sweep,
        complete=not done.interrupted,
        workload=workload.model_copy(update={"left_out": list(place.agreement.left_out)}),
        tokenizer=place.tokenizer_info,
        server=ServerInfo(url=place.target.url, model=place.model, version=place.version),
        client=system.client(),
        system=place.system,
        figures=figures,
        notes=notes,
        rows=rows.rows(done),
        timeline=rows.timeline(done),
        samples=samples,
    )


async def _phases(place: Place, workload: Workload, bodies: Sequence[dict[str, Any]], screen: Screen) -> Run:
    stop, cut = asyncio.Event(), asyncio.Event()

    def pressed() -> None:
        screen.stopping(stop.is_set())
        (cut if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: a test
        loop.add_signal_handler(signal.SIGINT, pressed)
    if workload.warmup:
        await _warm_up(place, workload, bodies, screen, stop, cut)
    load = Load(
        requests=workload.requests,
        concurrency=workload.concurrency,
        rate=workload.rate_per_s,
        duration=workload.duration_s,
        seed=workload.seed,
        timeout=workload.timeout_s,
    )
    if place.watch is not None:
        place.watch.start()
    # What is there stays there: the collector need not look at it again in the middle of a run.
    gc.collect()
    gc.freeze()
    screen.begin("measuring", None if workload.duration_s else workload.requests)
    try:
        return await drive(place.target, bodies, load, screen.told, stop, cut)
    finally:
        screen.end()
        gc.unfreeze()


async def _warm_up(
    place: Place,
    workload: Workload,
    bodies: Sequence[dict[str, Any]],
    screen: Screen,
    stop: asyncio.Event,
    cut: asyncio.Event,
) -> None:
    """Requests like the run's in other words, up to its concurrency, so that batches are known."""
    count = max(workload.warmup, min(workload.concurrency, 4 * workload.warmup))
    others = _other_words(place, workload, bodies, count)
    screen.begin("warming up", count)
    try:
        load = Load(count, min(count, workload.concurrency), timeout=workload.timeout_s)
        await drive(place.target, others, load, screen.told, stop, cut)
    finally:
        screen.end()


def _other_words(
    place: Place, workload: Workload, bodies: Sequence[dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    if workload.input_tokens is None or workload.output_tokens is None or place.agreement is None:
        return [dict(body) for body in bodies[-count:]]
    seed = workload.seed ^ WARMUP_SEED
    made = prompts.synthetic(place.tokenizer, count, workload.input_tokens, workload.output_tokens, seed)
    return [place.agreement.apply(prompts.body(prompt, place.model)) for prompt in made]


def _unseen(samples: Samples) -> list[str]:
    """What of the machines could not be sampled, as far as something can be done about it."""
    if samples.nodes and samples.engine is None:
        return [
            "the engine gave no statistics of its iterations: `pulumi config set iterationStats true`, then "
            "`pulumi up`"
        ]
    return []


def _short(done: Run, chosen: Sequence[Prompt], workload: Workload) -> list[str]:
    """A word where answers ended before the length asked for: their figures are of less work."""
    short = sum(
        answer.output_tokens < chosen[number % len(chosen)].output_tokens
        for number, answer in enumerate(done.answers)
        if measure.good(answer) and answer.output_tokens
    )
    good = sum(measure.good(answer) for answer in done.answers)
    found = []
    if short:
        found.append(f"{short} of {good} answers ended before the length asked for")
    if workload.duration_s and len(done.answers) > len(chosen):
        found.append(
            f"{len(chosen)} prompts were asked more than once: a server that caches prefixes has it easier"
        )
    return found
