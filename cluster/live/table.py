"""The table of live checks, and the decorator that enters a function into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from cluster.checks.table import Finding, Level
from cluster.live.seen import Live

#: What a check needs: a deployment, one that should be serving, or what only --full has looked at.
Needs = Literal["deployed", "serving", "log", "answer", "fabric", "gpus"]
#: Where `--head`, `--worker` and `--swarm` put it: by its node, or with the Swarm.
Area = Literal["node", "swarm"]
Run = Callable[[Live], Iterator[Finding]]

SKIPPED = {
    "deployed": "nothing is deployed yet",
    "serving": "nothing is to be serving",
    "log": "the log was not read (--quick), or there is none",
    "answer": "nothing is to be serving, or the endpoint was not asked",
    "fabric": "only with --full, where ranks share cables",
    "gpus": "only with --full",
}


@dataclass(frozen=True)
class LiveCheck:
    """A row; the words are those of cluster/checks/table.py."""

    id: str
    about: str
    levels: tuple[Level, ...]
    fix: str
    needs: Needs
    area: Area
    run: Run = field(repr=False)

    def skipped(self, live: Live) -> str:
        """Why it cannot be asked; "" when it can."""
        there = {
            "deployed": live.deployed,
            "serving": live.serving,
            "log": live.serving and live.log is not None,
            "answer": live.serving and live.answer is not None,
            "fabric": live.fabric is not None,
            "gpus": live.gpus is not None,
        }
        return "" if there[self.needs] else SKIPPED[self.needs]

    def __call__(self, live: Live) -> list[Finding]:
        """Its findings, each marked with the check's id."""
        return [Finding(one.level, one.node, one.found, one.todo, self.id) for one in self.run(live)]


LIVE_CHECKS: dict[str, LiveCheck] = {}


def live_check(
    id: str, about: str, fix: str, *levels: Level, needs: Needs = "deployed", area: Area = "node"
) -> Callable[[Run], Run]:
    """Enter a function into the table under `id`."""

    def enter(run: Run) -> Run:
        if id in LIVE_CHECKS:
            raise ValueError(f"check {id} is there twice")
        LIVE_CHECKS[id] = LiveCheck(id, about, levels or ("FAIL",), fix, needs, area, run)
        return run

    return enter
