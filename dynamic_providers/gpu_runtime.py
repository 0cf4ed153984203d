"""A node's Docker prepared for its GPU: what is found of it is compared thing by thing.

The work is in remote/gpu_runtime.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import (
    Provider,
    as_read,
    between,
    changed,
    deleted,
    hold,
    kept_on_failure,
    leaves,
    undo,
)

_INPUTS = ("stack", "takeOver", "gpu", "connection", "group", "things", "steps")


class GpuRuntimeProvider(Provider):
    """`stack`, `takeOver` (a stack whose machines these were, "" for none), `gpu`, `connection`, `group`,
    `things` and `steps` (cluster/preparation.py) -> changed, docker.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Things that refresh found otherwise, and steps that the look before this plan found needed."""
        hold(self, _news["stack"], _news["connection"]["host"])
        different = changed(_olds, _news, ("gpu", "things", "stack"))
        return DiffResult(changes=bool(different.changes or _news["steps"]), replaces=[])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Merge our keys in; safe to repeat after any interruption."""
        from remote.gpu_runtime import prepare

        host = props["connection"]["host"]
        hold(self, props["stack"], host)
        with kept_on_failure(host, {**props, "things": {}, "changed": False, "docker": ""}):
            done = _done(prepare(props))
        return CreateResult(id_=host, outs={**props, **done})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise: what is right already stays. A node whose place another one took is given back, but not
        the same machine (its GPU says so) under another name.
        """
        from remote.gpu_runtime import give_back, prepare

        with kept_on_failure(_id, {**between(_olds, _news), "things": {}}):
            done = _done(prepare(_news))
            same = _olds["connection"] if _olds["gpu"] == _news["gpu"] else None
            undo([login for login in leaves(_olds, _news) if login != same], _olds, give_back)
        return UpdateResult(outs={**_news, **done})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Every thing as the node has it."""
        if "things" not in props:
            return ReadResult(id_, props)
        from remote.gpu_runtime import look

        return as_read(id_, {**props, "things": look(props)}, _INPUTS, steps=[])

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Put back what was there before, and take out of an edited file what is ours."""
        from remote.gpu_runtime import give_back

        undo(deleted(self, _props), _props, give_back)


def _done(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {"changed": answer["changed"], "docker": answer["docker"]}


class GpuRuntime(Resource, module="trtspark", name="GpuRuntime"):
    """Docker of one node, prepared."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: see _INPUTS; `things` as they should be; `steps`: what the probe found to be done, for the
        preview; `group`: whether the user may be put into group docker.
        """
        super().__init__(GpuRuntimeProvider(), name, {**props, "changed": None, "docker": None}, opts)
