"""When requests start: a closed loop of so many at once, or an open loop at a rate.

Closed: each of `concurrency` users sends its next request when the last is answered. Open: requests start
at the times of a Poisson process, whatever the server does, unless `concurrency` requests run already: then
the next waits, and how late it started is counted.
"""

from __future__ import annotations

import asyncio
import random
import resource
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter_ns, process_time_ns
from typing import Any

from trtspark.bench.stream import Answer, Connection, Connections, Target

CHAT = "/v1/chat/completions"
#: The client's own loop is asked how late it is this often.
LAG_INTERVAL_S = 0.005
#: Connections made before the clock runs: all of a closed loop's; an open loop makes more when it needs them.
MOST_AHEAD = 1024
OPEN_AHEAD = 64


@dataclass(frozen=True)
class Load:
    """How requests are spread: with `rate` (requests/s) an open loop; `duration` (s) ends either early.

    `concurrency` is at most so many at once; an open loop without a bound has as many as requests.
    """

    requests: int
    concurrency: int
    rate: float | None = None
    duration: float | None = None
    seed: int = 0
    timeout: float = 600.0


@dataclass
class Run:
    """All answers in the order in which requests started; times in ns, lags of the client in µs."""

    load: Load
    answers: list[Answer] = field(default_factory=list)
    began: int = 0
    ended: int = 0
    lags: array[int] = field(default_factory=lambda: array("L"))
    cpu_ns: int = 0
    peak_rss: int = 0
    late: array[int] = field(default_factory=lambda: array("q"))
    """Open loop: how many µs after its time each request really started."""
    interrupted: bool = False


def arrivals(load: Load) -> Iterator[float]:
    """Seconds from the start at which an open loop's requests are due; the same for the same seed."""
    assert load.rate is not None
    chance, now = random.Random(load.seed), 0.0
    for _ in range(load.requests):
        yield now
        now += chance.expovariate(load.rate)


async def drive(
    target: Target,
    bodies: Sequence[dict[str, Any]],
    load: Load,
    told: Callable[[Answer], None] = lambda _answer: None,
    stop: asyncio.Event | None = None,
    cut: asyncio.Event | None = None,
    connection: Callable[[], Connection] = Connection,
) -> Run:
    """Send the bodies (again from the first when there are fewer than requests), stamp what comes back.

    `told` hears of every answer when it is there. `stop` ends the run early: nothing new starts, and what
    runs is finished. `cut` gives up what runs, too: those answers are "cancelled". Raises OSError or
    TimeoutError where nobody listens.
    """
    run, stop = Run(load), stop or asyncio.Event()
    connections = Connections(target, connection=connection)
    await connections.open(min(load.concurrency, load.requests, OPEN_AHEAD if load.rate else MOST_AHEAD))
    lag = asyncio.create_task(_watch(run))
    scissors = asyncio.create_task(_cut(connections, cut or asyncio.Event()))
    run.began, cpu = perf_counter_ns(), process_time_ns()
    try:
        await (_open if load.rate else _closed)(connections, bodies, run, told, stop)
    finally:
        run.ended, run.cpu_ns = perf_counter_ns(), process_time_ns() - cpu
        run.peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        run.interrupted = stop.is_set()
        lag.cancel()
        scissors.cancel()
        connections.close()
    return run


async def _cut(connections: Connections, cut: asyncio.Event) -> None:
    await cut.wait()
    connections.give_up()


def _over(run: Run) -> bool:
    duration = run.load.duration
    return duration is not None and (perf_counter_ns() - run.began) / 1e9 >= duration


async def _closed(
    connections: Connections,
    bodies: Sequence[dict[str, Any]],
    run: Run,
    told: Callable[[Answer], None],
    stop: asyncio.Event,
) -> None:
    numbers = iter(range(run.load.requests))

    async def user() -> None:
        for number in numbers:
            if stop.is_set() or _over(run):
                return
            await _one(connections, bodies[number % len(bodies)], run, told)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(run.load.concurrency, run.load.requests)):
            group.create_task(user())


async def _open(
    connections: Connections,
    bodies: Sequence[dict[str, Any]],
    run: Run,
    told: Callable[[Answer], None],
    stop: asyncio.Event,
) -> None:
    room = asyncio.Semaphore(run.load.concurrency)

    async def visitor(number: int) -> None:
        try:
            await _one(connections, bodies[number % len(bodies)], run, told)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        for number, due in enumerate(arrivals(run.load)):
            pause = due - (perf_counter_ns() - run.began) / 1e9
            if pause > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
            await room.acquire()
            if stop.is_set() or _over(run):
                return
            run.late.append(int((perf_counter_ns() - run.began) / 1e3 - due * 1e6))
            group.create_task(visitor(number))


async def _one(
    connections: Connections, body: dict[str, Any], run: Run, told: Callable[[Answer], None]
) -> None:
    index = len(run.answers)
    run.answers.append(Answer())
    answer = await connections.ask(CHAT, body, run.load.timeout)
    run.answers[index] = answer
    told(answer)


async def _watch(run: Run) -> None:
    """How late the loop wakes us: what it adds to every stamp in the same moment."""
    while True:
        before = perf_counter_ns()
        await asyncio.sleep(LAG_INTERVAL_S)
        late = (perf_counter_ns() - before) / 1e3 - LAG_INTERVAL_S * 1e6
        run.lags.append(max(0, int(late)))
