"""Every resource's operations fail, or are killed, at each of their steps: `up` and `destroy` get there.

The real code runs; one call of Docker's client, of a node's shell or of a node's file system fails before it
happens, or once it has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.walk.machines import HOSTS, KINDS, Faults, Killed, Machines
from tests.walk.small_stack import Stack


def fresh(tmp_path, monkeypatch, number: int) -> Stack:
    machines = Machines(tmp_path / str(number))
    machines.install(monkeypatch)
    stack = Stack(machines)
    stack.pulumi.install(monkeypatch)
    return stack


def remains(machines: Machines) -> dict[str, object]:
    """What a destroy could leave."""
    return {
        host: (
            engine.swarm and engine.swarm.id,
            sorted(engine.bridges),
            {**engine.running, **engine.ended},
            engine.volumes,
            machines.owners.get(host),
            machines.keys(host).read_text(),
            sorted(path.name for path in (machines.root / host).rglob("*")),
        )
        for host, engine in ((host, machines.engines[host]) for host in HOSTS)
    }


#: What a run begins with, and what it is then asked to do.
Change = Callable[[Stack], object]


def changed(**changes: object) -> Change:
    def change(stack: Stack) -> object:
        stack.config = replace(stack.config, **changes)
        return stack.up()

    return change


CHANGES: dict[str, tuple[Change, Change]] = {
    "first": (lambda _: None, Stack.up),
    "model": (Stack.up, changed(model="lab/b")),
    "image": (Stack.up, changed(image="release@sha256:2")),
    "a node more": (Stack.up, changed(count=3)),
    "a node less": (changed(count=3), changed(count=2)),
    "head only": (Stack.up, changed(head_only=True)),
    "stopped": (Stack.up, changed(running=False)),
    "refresh": (Stack.up, lambda stack: stack.pulumi.refresh()),
    "destroy": (Stack.up, Stack.destroy),
}


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_every_step(tmp_path, monkeypatch, change, kind, after, stride):
    begin, act = CHANGES[change]
    steps = 0
    while True:
        steps += stride
        stack = fresh(tmp_path, monkeypatch, steps)
        before = remains(stack.machines)
        begin(stack)
        stack.machines.faults = faults = Faults(steps, KINDS[kind], after)
        expected = Killed if kind == "killed" else Exception
        done = False
        with contextlib.suppress(expected):
            act(stack)
            done = True
        stack.machines.faults = Faults()
        if not faults.hit:
            assert done
            break
        # Of a create that was killed Pulumi knows nothing: only the next `up` adopts it.
        if change != "destroy" and (kind == "killed" or steps // stride % 2):
            stack.up()
            assert stack.machines.serves() == (stack.config.model if stack.config.running else None), steps
            assert stack.up() == [], steps
        stack.destroy()
        after_all = remains(stack.machines)
        for host in HOSTS:
            # What cannot be reached and serves no more is given up, with a word.
            if not any(host in text and "stays there" in text for text in stack.pulumi.warned):
                assert after_all[host] == before[host], steps
    assert steps > 10
