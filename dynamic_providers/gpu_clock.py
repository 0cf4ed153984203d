"""A cap on a node's GPU clock: a systemd unit of ours there, compared thing by thing.

The work is in remote/gpu_clock.py, imported when there is some.
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

_INPUTS = ("stack", "takeOver", "connection", "limit", "things", "steps")


class GpuClockProvider(Provider):
    """`stack`, `takeOver`, `connection`, `limit` (MHz), `things` as they should be, and `steps` that the look
    before the plan found needed.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another limit, things that refresh found otherwise, and steps."""
        hold(self, _news["stack"], _news["connection"]["host"])
        olds, news = ({**props, "host": props["connection"]["host"]} for props in (_olds, _news))
        different = changed(olds, news, ("host", "limit", "things", "stack"))
        return DiffResult(changes=bool(different.changes or _news["steps"]), replaces=[])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write the unit and start it; safe to repeat after any interruption."""
        from remote.gpu_clock import cap

        host = props["connection"]["host"]
        hold(self, props["stack"], host)
        with kept_on_failure(host, {**props, "things": {}}):
            cap(props)
        return CreateResult(id_=host, outs=props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise. A node whose place another one took is given back."""
        from remote.gpu_clock import cap, give_back

        with kept_on_failure(_id, {**between(_olds, _news), "things": {}}):
            cap(_news)
            undo(leaves(_olds, _news), _olds, give_back)
        return UpdateResult(outs=_news)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Every thing as the node has it."""
        if "things" not in props:
            return ReadResult(id_, props)
        from remote.gpu_clock import look

        return as_read(id_, {**props, "things": look(props)}, _INPUTS, steps=[])

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Reset the clock and remove the unit."""
        from remote.gpu_clock import give_back

        undo(deleted(self, _props), _props, give_back)


class GpuClock(Resource, module="trtspark", name="GpuClock"):
    """The GPU's clock of one node, capped."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: see GpuClockProvider."""
        super().__init__(GpuClockProvider(), name, dict(props), opts)
