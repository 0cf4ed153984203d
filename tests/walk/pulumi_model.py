"""A small model of Pulumi's engine: what it keeps in the state, and the order in which it calls providers.

As the real one does: resources are registered in order of their dependencies; `diff` gets the outputs in
the state and the new inputs; numbers travel as floats; a create that fails is not in the state unless
the provider reports it (`kept_on_failure`), and then the next `up` updates it whatever `diff` says; an
update that fails leaves the old outputs unless it reports others likewise; a run that is killed keeps
neither; what is replaced goes first or last, as the provider says; what is no longer registered goes at
the end, in reverse order, and only if nothing failed before; a refresh drops what `read` does not find,
and asks no provider without `read`.

Simpler than the real one: one resource at a time, no targets, no protection, and a resource that goes
first takes along only what its own replacement changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dynamic_providers import base

Props = dict[str, Any]
#: Inputs of a resource, from the outputs of those before it.
Inputs = Callable[[dict[str, Props]], Props]


@dataclass(frozen=True)
class Registered:
    """A resource that the program registers. `after`: names of resources that stand before it."""

    name: str
    provider: Any
    inputs: Inputs
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A resource in the state."""

    name: str
    provider: Any
    id: str
    outputs: Props
    failed: bool = False
    """Whether its create failed half-way: `initErrors`."""
    goes: bool = False
    """Whether it was replaced and has still to be deleted."""


def carried(value: Any) -> Any:
    """As gRPC's struct brings it."""
    if isinstance(value, dict):
        return {key: carried(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [carried(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass
class Pulumi:
    """One stack's state, and the commands on it."""

    state: list[Kept] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What the last command did: "create swarm", …"""
    warned: list[str] = field(default_factory=list)
    """What providers said to the user since the state is here."""
    _reported: tuple[str, Props] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have `kept_on_failure` report to this engine."""

        def report(id_: str, outs: Props, _reason: str) -> None:
            self._reported = (id_, copy.deepcopy(outs))

        monkeypatch.setattr(base, "_report_incomplete", report)
        monkeypatch.setattr(base, "_LISTED", {"hosts": None, "all": None})
        monkeypatch.setattr(base, "_speaker", lambda *_a, **_k: self.warned.append)

    def export(self) -> list[Kept]:
        """`pulumi stack export`."""
        return list(self.state)

    def up(self, program: Sequence[Registered]) -> None:
        """`pulumi up`; raises what a provider raised."""
        self._begin()
        outputs: dict[str, Props] = {}
        for one in program:
            outputs[one.name] = self._step(one, carried(one.inputs(outputs)))
        names = {one.name for one in program}
        for kept in reversed(self.state[:]):
            if kept.goes or kept.name not in names:
                self._delete(kept)
        order = [one.name for one in program]
        self.state.sort(key=lambda kept: order.index(kept.name))

    def refresh(self) -> None:
        """`pulumi refresh`."""
        for kept in self.state[:]:
            if kept.goes or not hasattr(kept.provider, "read"):
                continue
            found = kept.provider.read(kept.id, copy.deepcopy(kept.outputs))
            if found.id:
                # What the next refresh compares with: a difference would show as drift that nobody made.
                if found.inputs is not None:
                    again = kept.provider.diff(
                        found.id, copy.deepcopy(found.outs), copy.deepcopy(found.inputs)
                    )
                    assert not again.changes, (kept.name, found.outs, found.inputs)
                self._put(kept, replace(kept, id=found.id, outputs=carried(found.outs)))
            else:
                self.state.remove(kept)

    def destroy(self) -> None:
        """`pulumi destroy`; raises what a provider raised, with the rest still in the state."""
        self._begin()
        for kept in reversed(self.state[:]):
            self._delete(kept)

    def _begin(self) -> None:
        """Every run of Pulumi has a process of its own for the providers."""
        self.said = []
        base._HELD.clear()

    def _step(self, one: Registered, props: Props) -> Props:
        old = next((kept for kept in self.state if kept.name == one.name and not kept.goes), None)
        if old is None:
            return self._create(one, props)
        diff = one.provider.diff(old.id, copy.deepcopy(old.outputs), copy.deepcopy(props))
        if diff.replaces:
            if diff.delete_before_replace:
                self._delete(old)
            else:
                self._put(old, replace(old, goes=True))
            return self._create(one, props)
        if not diff.changes and not old.failed:
            return old.outputs
        self.said.append(f"update {one.name}")
        self._reported = None
        try:
            done = one.provider.update(old.id, copy.deepcopy(old.outputs), copy.deepcopy(props))
        except Exception:
            if self._reported is not None:
                id_, outs = self._reported
                self._put(old, replace(old, id=id_, outputs=carried(outs), failed=True))
            raise
        new = replace(old, outputs=carried(done.outs), failed=False)
        self._put(old, new)
        return new.outputs

    def _create(self, one: Registered, props: Props) -> Props:
        self.said.append(f"create {one.name}")
        self._reported = None
        try:
            done = one.provider.create(copy.deepcopy(props))
        except Exception:
            if self._reported is not None:
                id_, outs = self._reported
                self.state.append(Kept(one.name, one.provider, id_, carried(outs), failed=True))
            raise
        self.state.append(Kept(one.name, one.provider, done.id, carried(done.outs)))
        return self.state[-1].outputs

    def _delete(self, kept: Kept) -> None:
        self.said.append(f"delete {kept.name}")
        kept.provider.delete(kept.id, copy.deepcopy(kept.outputs))
        self.state.remove(kept)

    def _put(self, old: Kept, new: Kept) -> None:
        self.state[self.state.index(old)] = new
