"""What changes a machine beside its Swarm is interrupted at each of its steps: `up` and `destroy` get there.

As test_interrupted.py, for resources that need no other one: each alone on a machine of its own.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.walk.machines import Faults, Killed
from tests.walk.node_parts import PARTS, Part


def changed(part: Part) -> object:
    part.change()
    return part.up()


def mended(part: Part) -> object:
    part.spoil()
    return part.refresh_and_up()


def differing(before: list[str], after: list[str]) -> list[str]:
    """The lines that came or went."""
    lines = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


Act = Callable[[Any], object]
ACTS: dict[str, tuple[Act, Act]] = {
    "first": (lambda _: None, Part.up),
    "changed": (Part.up, changed),
    "mended": (Part.up, mended),
    "destroy": (Part.up, Part.destroy),
}


#: With TRTSPARK_WALK every step, else every third.
STRIDE = 1 if "TRTSPARK_WALK" in os.environ else 3
LONG = [(kind, after, STRIDE) for kind in range(3) for after in (False, True)]
#: The quick run takes some steps of half of them.
QUICK = [(0, False, 8), (1, True, 8), (2, False, 8)]


@pytest.mark.parametrize(
    ("kind", "after", "stride"), [*QUICK, *(pytest.param(*one, marks=pytest.mark.long) for one in LONG)]
)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("name", PARTS)
def test_every_step(tmp_path, monkeypatch, name, act, kind, after, stride):
    begin, run = ACTS[act]
    kinds = PARTS[name].kinds
    raised = list(kinds.values())[kind]
    killed = raised is Killed
    for steps in itertools.count(1 + (kind if stride > 1 else 0), stride):
        with monkeypatch.context() as patch:
            part = PARTS[name](tmp_path / str(steps), patch)
            before = part.remains()
            begin(part)
            part.faults = faults = Faults(steps, raised, after)
            failed: Exception | None = None
            try:
                with contextlib.suppress(Killed):
                    run(part)
            except Exception as error:
                failed = error
            part.rest()
            part.faults = Faults()
            if not faults.hit:
                assert failed is None
                break
            # Of a create that was killed Pulumi knows nothing: only the next `up` adopts it.
            if act != "destroy" and (killed or steps // stride % 2 == 0):
                part.refresh_and_up()
                assert part.good(), steps
                assert part.up() == [], steps
            part.destroy()
            part.rest()
            assert differing(before, part.remains()) == [], steps
