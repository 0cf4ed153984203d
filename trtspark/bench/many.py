"""One benchmark for each of many models: judge, switch, measure, keep; the stack's own model at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from cluster import catalog, engine
from cluster.config import Settings
from cluster.errors import TrtSparkError, Unreachable
from cluster.patience import is_too_late
from remote import preflight
from trtspark.bench import execute, matrix, places, results, switching
from trtspark.bench.execute import Screen
from trtspark.bench.matrix import Matrix, Row, Status
from trtspark.bench.measure import Slo
from trtspark.bench.results import Result, Workload
from trtspark.project import Stack


@dataclass
class Interrupted:
    """Whether Ctrl-C was pressed: it ends the sweep after what runs, and is never an exception."""

    pressed: bool = False

    def hear(self, _signal: int, _frame: FrameType | None) -> None:
        """As a signal handler."""
        self.pressed = True


@dataclass
class Steps:
    """What is done to the world for each model; tests bring their own."""

    judge: Callable[[Stack, Settings], str] = field(default=lambda stack, settings: judge(stack, settings))
    up: Callable[[Stack, str, bool, Path], switching.Variant] = switching.up
    measure: Callable[..., Result] = field(default=lambda *args: measure(*args))
    restore: Callable[[Stack, Path], None] = switching.restore


@dataclass
class Sweep:
    """One command: the stack, what is asked of each model, and where results go."""

    stack: Stack
    workload: Workload
    folder: Path
    screen: Screen
    say: Callable[[str], None]
    slo: Slo | None = None
    samples: bool = True
    skip_token: bool = False
    steps: Steps = field(default_factory=Steps)

    def plan(self, models: Sequence[str], single_node: bool) -> list[Row]:
        """What would be done with each: SKIPPED with its reason, or SUCCESS for what would run."""
        return [
            Row(
                model=model,
                status="SKIPPED" if why else "SUCCESS",
                reason=why,
                **self._split(model, single_node),
            )
            for model in models
            for why in (self._why_not(model, single_node),)
        ]

    def run(self, todo: Matrix) -> Matrix:
        """Every model that is left, then the stack's own again, whatever happened. Raises SwitchFailed when
        that does not serve again.
        """
        stopped = Interrupted()
        log = matrix.path(self.folder, todo).with_suffix(".log")
        matrix.save(self.folder, todo)
        try:
            for model in todo.left:
                with _listening(stopped):
                    row = self._one(todo, model, log, stopped)
                if row.status != "SKIPPED":
                    todo = todo.model_copy(update={"restored": False})
                todo = todo.with_row(row)
                matrix.save(self.folder, todo)
                self.say(f"{model}: {row.status}{' - ' + row.reason if row.reason else ''}")
                if stopped.pressed or row.status == "INTERRUPTED":
                    break
        finally:
            if not todo.restored:
                with _listening(stopped):
                    todo = self._put_back(todo, log)
        return todo

    def _one(self, todo: Matrix, model: str, log: Path, stopped: Interrupted) -> Row:
        split = self._split(model, todo.single_node)
        self.say(f"{model} ({todo.models.index(model) + 1} of {len(todo.models)})")
        why = self._why_not(model, todo.single_node)
        if why:
            return Row(model=model, status="SKIPPED", reason=why, **split)
        if stopped.pressed:
            return Row(model=model, status="INTERRUPTED", **split)
        # From here on the stack's own model may not be what serves.
        matrix.save(self.folder, todo.model_copy(update={"restored": False}))
        try:
            served = self.steps.up(self.stack, model, todo.single_node, log)
        except TrtSparkError as error:
            return Row(model=model, status=_failed(str(error), stopped), reason=str(error), **split)
        if stopped.pressed:
            return Row(model=model, status="INTERRUPTED", **split)
        try:
            result = self.steps.measure(served, self.workload, self.screen, self.slo, self.samples)
        except TrtSparkError as error:
            status: Status = "INTERRUPTED" if stopped.pressed else "BENCH_FAILED"
            return Row(model=model, status=status, reason=str(error), **split)
        file = results.write(result, self.folder)
        ready = served.outputs.get("readySeconds")
        return matrix.measured(result, split["tp"], split["nodes"], ready, file.name)

    def _split(self, model: str, single_node: bool) -> dict[str, Any]:
        settings = switching.settings_for(self.stack.settings, model, single_node)
        return {"tp": engine.resolve(settings).tensor_parallel, "nodes": len(settings.active_nodes)}

    def _why_not(self, model: str, single_node: bool) -> str:
        if self.skip_token and catalog.known(model).gated:
            return "gated (--skip-token)"
        return self.steps.judge(self.stack, switching.settings_for(self.stack.settings, model, single_node))

    def _put_back(self, todo: Matrix, log: Path) -> Matrix:
        self.say(f"Putting {todo.original} back. Ctrl-C waits for it.")
        try:
            self.steps.restore(self.stack, log)
        except TrtSparkError as error:
            raise switching.SwitchFailed(
                f"{todo.original} does not serve again: {error} `pulumi up` tries once more; {log} has its "
                "output."
            ) from None
        todo = todo.model_copy(update={"restored": True})
        matrix.save(self.folder, todo)
        return todo


def judge(stack: Stack, settings: Settings) -> str:
    """Why a model cannot be deployed here; "" when nothing speaks against it. Raises Unreachable."""
    from remote.logins import connections

    found = preflight.examine(stack.name, settings, connections(settings))
    for error in found.errors:
        if isinstance(error, Unreachable):
            raise error
        return str(error)
    return next((str(one.error()) for one in found.findings if one.level == "FAIL"), "")


def measure(
    served: switching.Variant, workload: Workload, screen: Screen, slo: Slo | None, samples: bool
) -> Result:
    """One run against what serves now."""
    place = places.of_stack(served, None, None, "", samples)
    return execute.run(place, workload, screen, slo)


def _failed(text: str, stopped: Interrupted) -> Status:
    if stopped.pressed:
        return "INTERRUPTED"
    return "API_TIMEOUT" if is_too_late(text) else "SWITCH_FAILED"


@contextmanager
def _listening(stopped: Interrupted) -> Iterator[None]:
    """Ctrl-C and SIGTERM are noted. A benchmark's own loop takes Ctrl-C over while it runs."""
    old = {number: signal.signal(number, stopped.hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
