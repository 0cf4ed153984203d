"""The table of checks, and the decorator that enters a function into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster.config import Settings
from cluster.errors import NotPrepared, PlanError, TrtSparkError
from cluster.facts import Facts
from cluster.registry import Answers
from cluster.resolution import Found

#: NOTE: nothing is wrong, but good to know before `up`.
Level = Literal["FAIL", "WARN", "NOTE"]


@dataclass(frozen=True)
class Context:
    """Everything a check may look at. `nodes` and `caches` head first; `caches[i]` is
    remote/node/hub_cache.py's answer of node i. `found` is None where the model could not be resolved,
    which is told elsewhere. `registry`: what the image's registry answered, where a node lacks the image.
    """

    stack: str
    settings: Settings
    nodes: Sequence[Facts]
    caches: Sequence[Mapping[str, Any]]
    found: Found | None = None
    registry: Answers | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `node` is "" where it is wrong between the machines."""

    level: Level
    node: str
    found: str
    todo: str
    check: str = ""

    def error(self) -> TrtSparkError:
        """The same as an error: a sentence for where and what was found, one for what to do."""
        if self.node:
            return NotPrepared(self.node, self.found, self.todo)
        return PlanError(f"{self.found} {self.todo}".strip())

    def __str__(self) -> str:
        return str(self.error())


Run = Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A row of the table. `about`: what it looks at; `fix`: what helps, in general. Both are sentences.

    `alone`: it judges each node by itself, whatever the others are.
    """

    id: str
    about: str
    levels: tuple[Level, ...]
    fix: str
    run: Run = field(repr=False)
    alone: bool = False

    def __call__(self, context: Context) -> list[Finding]:
        """Its findings, each marked with the check's id."""
        return [Finding(one.level, one.node, one.found, one.todo, self.id) for one in self.run(context)]


CHECKS: dict[str, Check] = {}


def check(id: str, about: str, fix: str, *levels: Level, alone: bool = False) -> Callable[[Run], Run]:
    """Enter a function into the table under `id` (dotted: what it is about, then what is wrong)."""

    def enter(run: Run) -> Run:
        if id in CHECKS:
            raise ValueError(f"check {id} is there twice")
        CHECKS[id] = Check(id, about, levels or ("FAIL",), fix, run, alone)
        return run

    return enter


def findings(context: Context, alone: bool = False) -> list[Finding]:
    """Everything wrong, in the order of the table; with `alone`, by the checks that need no other node."""
    return [one for each in CHECKS.values() if each.alone or not alone for one in each(context)]
