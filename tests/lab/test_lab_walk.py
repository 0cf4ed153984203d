"""A random walk of one operator on a real pair: some six acts, each followed at times by `up`.

After all of them one `up` serves what is configured, a second one changes nothing, and `destroy` gives the
machines back as they were. The seed is printed; TRTSPARK_LAB_WALK_SEED repeats a walk, TRTSPARK_LAB_WALK_ACTS
is how many acts it has. The same in memory, and much longer: tests/walk.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]
MODELS = ("openai/gpt-oss-20b", "openai/gpt-oss-120b")
ACTS = 6
#: No more acts are begun after so long.
ENOUGH_S = 120
RANKS = "docker ps -q --filter label=trtspark.rank"


class Walk:
    """One stack, and what happens to it."""

    def __init__(self, stack: stacks.Stack, chance: random.Random) -> None:
        self.stack, self.chance = stack, chance

    def inside(self, node: int, script: str) -> str:
        return stacks.inside(self.stack.lab, node, f"{{ {script}; }} 2>&1 || true")

    def configure(self) -> str:
        key, values = self.chance.choice(
            [("model", MODELS), ("port", (8355, 8400)), ("maxBatchSize", (1, 4)), ("running", (True, False))]
        )
        value = self.chance.choice(values)
        self.stack.set(key, value)
        return f"{key}: {value}"

    def killed_up(self) -> str:
        """All of `pulumi` at once; what it locked is unlocked."""
        seconds = self.chance.uniform(1, 15)
        child = self.stack.start("up", "--yes", "--skip-preview")
        time.sleep(seconds)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self.stack.pulumi("cancel", "--yes", ok=False)
        return f"up killed after {seconds:.1f} s"

    def up(self) -> str:
        return f"up: {self.stack.up(ok=False).code}"

    def refresh(self) -> str:
        return f"refresh: {self.stack.pulumi('refresh', '--yes', '--skip-preview', ok=False).code}"

    def state_lost(self) -> str:
        self.stack.pulumi("stack", "export", "--file", "kept.json")
        lost = '{"version": 3, "deployment": {"manifest": {"time": "2026-01-01T00:00:00Z"}}}'
        (self.stack.folder / "lost.json").write_text(lost)
        self.stack.pulumi("stack", "import", "--force", "--file", "lost.json")
        return "state lost"

    def leave(self) -> str:
        node = self.chance.randrange(2)
        self.inside(node, "docker swarm leave --force")
        return f"swarm leave on {node}"

    def service_rm(self) -> str:
        rank = self.chance.randrange(2)
        self.inside(0, f"docker service rm trtspark-lab-rank-{rank}")
        return f"service rm of rank {rank}"

    def objects_rm(self) -> str:
        kind = self.chance.choice(["secret", "config"])
        self.inside(0, f"docker {kind} rm $(docker {kind} ls -q)")
        return f"{kind} rm"

    def pause(self) -> str:
        node = self.chance.randrange(2)
        self.inside(node, f"docker pause $({RANKS})")
        return f"pause on {node}"

    def restart(self) -> str:
        node = self.chance.randrange(2)
        self.inside(node, "systemctl reset-failed docker; systemctl restart docker")
        return f"docker restart on {node}"

    def acts(self) -> list[Any]:
        once = [self.refresh, self.state_lost, self.leave, self.service_rm, self.objects_rm, self.pause]
        return [*once, self.restart, self.configure, self.configure, self.killed_up, self.killed_up, self.up]


def test_a_walk_ends_well(lab, tmp_path):
    seed = int(os.environ.get("TRTSPARK_LAB_WALK_SEED") or random.SystemRandom().randrange(1_000_000))
    stack = stacks.create(tmp_path / "project", lab)
    stack.set("model", MODELS[0])
    stack.set("readyTimeout", 60)
    stack.set("drainSeconds", 2)
    before = stacks.leavings(lab)
    walk, begun = Walk(stack, random.Random(seed)), time.monotonic()
    print(f"seed {seed}", flush=True)
    try:
        stack.up()
        for _ in range(int(os.environ.get("TRTSPARK_LAB_WALK_ACTS") or ACTS)):
            if time.monotonic() - begun > ENOUGH_S:
                break
            print(f"{time.monotonic() - begun:5.0f} s", walk.chance.choice(walk.acts())(), flush=True)
        stack.up()
        running = stack.get("running") is not False
        if running:
            assert stack.output("model") == stack.get("model")
            assert stacks.answers(f"{stack.output('endpoint')}/health")
        run = stack.up()
        assert set(run.counts) == {"unchanged"}, run.text
        stack.destroy()
        stacks.same(lab, before)
        print(f"{time.monotonic() - begun:5.0f} s", "done", flush=True)
    finally:
        stack.pulumi("destroy", "--yes", "--skip-preview", ok=False)
