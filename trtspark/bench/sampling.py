"""Sampling beside a run: one long-lived ssh session per node, and the engine's own statistics by HTTP.

Each has a thread of its own that mostly waits, so that the client's loop is left alone. Where something
cannot be sampled, the run goes on and the result says so.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Protocol

import orjson
import requests

from remote import limited, node, web
from remote.node import untrusted
from remote.ssh import Connection, SshShell
from trtspark.bench import limits
from trtspark.bench.load import Run
from trtspark.bench.readings import engine_samples, node_samples
from trtspark.bench.results import EngineSamples, Figures, NodeSamples, Samples, SystemInfo, Workload

INTERVAL_S = 1.0
#: A sampler that was forgotten ends itself.
MOST_SECONDS = 24 * 3600
#: Without statistics the engine answers after two seconds.
ENGINE_TIMEOUT_S = 5
#: A first iteration may take seconds: that of a long prompt.
MOST_SILENT = 20


class Session(Protocol):
    """A process whose lines are samples."""

    def stream(self, command: str, stdin: str) -> subprocess.Popen[str]:
        """Start it."""
        ...


@dataclass
class _Node:
    """One node's session and what it said: (client's ns, sample)."""

    name: str
    process: subprocess.Popen[str]
    lines: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)

    def read(self, over: threading.Event) -> None:
        """Until it ends, or until the line after `over`; closing its output tells the other side."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in limited.lines(lines):
                if over.is_set():
                    break
                with suppress(ValueError):
                    sample = untrusted.load(line)
                    if isinstance(sample, dict) and "t" in sample:
                        self.lines.append((perf_counter_ns(), sample))


class Sampler:
    """Everything that is sampled beside the runs of one command."""

    def __init__(
        self,
        connections: Sequence[Connection],
        url: str | None,
        system: SystemInfo | None,
        session: Callable[[Connection], Session] = SshShell,
        interval: float = INTERVAL_S,
    ) -> None:
        """`url` of the engine, None to leave it alone; `interval` in seconds."""
        self.connections, self.url, self.system, self.session = connections, url, system, session
        self.interval = interval
        self._nodes: list[_Node] = []
        self._threads: list[threading.Thread] = []
        self._engine: list[tuple[int, Sequence[Mapping[str, Any]]]] = []
        self._over = threading.Event()
        self._over.set()

    def start(self) -> None:
        """Begin; what cannot be reached is left out."""
        self._over.clear()
        self._nodes, self._engine, self._threads = [], [], []
        script = node.program(sampler="main")
        command = node.command({"sampler": {"interval": self.interval, "seconds": MOST_SECONDS}})
        for connection in self.connections:
            with suppress(OSError):
                one = _Node(connection.host, self.session(connection).stream(command, script))
                self._nodes.append(one)
                self._begin(one.read, self._over)
        if self.url is not None:
            with suppress(requests.RequestException, ValueError):
                self._ask_engine()  # what it has from before is not this run's
            self._begin(self._watch_engine)

    def stop(self, run: Run, figures: Figures, workload: Workload) -> Samples:
        """What was seen between the run's beginning and end."""
        self.end()
        nodes = [node_samples(one.name, one.lines, run.began, run.ended) for one in self._nodes]
        nodes = [one for one in nodes if one.t_s]
        engine = engine_samples(self._engine, run.began, run.ended)
        return conclude(nodes, engine, figures, workload, self.system)

    def end(self) -> None:
        """No session and no thread stays. The last iterations are fetched before."""
        if self._over.is_set():
            return
        self._over.set()
        if self.url is not None:
            with suppress(requests.RequestException, ValueError):
                self._engine.append((perf_counter_ns(), self._ask_engine()))
        for thread in self._threads:
            thread.join(2 * self.interval)
        for one in self._nodes:
            try:
                one.process.wait(self.interval)
            except subprocess.TimeoutExpired:
                one.process.terminate()
                one.process.wait()
        for thread in self._threads:
            thread.join(ENGINE_TIMEOUT_S + 1)

    def _begin(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _watch_engine(self) -> None:
        silent = 0
        # So often nothing, and it has none: asking on would only cost it time.
        while not self._over.wait(self.interval) and silent < MOST_SILENT:
            try:
                found = self._ask_engine()
            except (requests.RequestException, ValueError):
                silent += 1
                continue
            silent = 0 if found or self._engine else silent + 1
            if found:
                self._engine.append((perf_counter_ns(), found))

    def _ask_engine(self) -> Sequence[Mapping[str, Any]]:
        """Iterations since the last question: reading takes them away."""
        answer = web.get(f"{self.url}/metrics", ENGINE_TIMEOUT_S)
        if not answer.ok:
            return []
        found = orjson.loads(answer.content)
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def conclude(
    nodes: Sequence[NodeSamples],
    engine: EngineSamples | None,
    figures: Figures,
    workload: Workload,
    system: SystemInfo | None,
) -> Samples:
    """Energy, tokens per joule and what limited the run."""
    joules = limits.energy(nodes, figures.duration_s)
    found = Samples(
        nodes=list(nodes),
        engine=engine,
        energy_j=joules,
        tokens_per_j=figures.output_tokens / joules if joules else None,
    )
    return found.model_copy(update={"limits": limits.limits(found, figures, workload, system)})
