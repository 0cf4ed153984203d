"""The API as its clients see it: which model answers there.

Rank 0's service has proven it before (dynamic_providers/swarm_service.py); the work here is one question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, as_read, changed, output

_INPUTS = ("url", "model", "applied")


class EndpointProvider(Provider):
    """`url`, `model`, `applied` (rank 0's version) -> the same, with the model that really answers."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Any change of what serves is asked for again."""
        return changed(_olds, _news, _INPUTS)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Ask."""
        from remote.readiness import confirm

        confirm(props)
        return CreateResult(id_=props["url"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Ask the new one."""
        from remote.readiness import confirm

        confirm(_news)
        return UpdateResult(outs=_news)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Which model really answers now; "" when none does."""
        if "url" not in props:
            return ReadResult(id_, props)
        from remote.readiness import serving_now

        return as_read(id_, {**props, "model": serving_now(props["url"])}, _INPUTS)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing to undo: the services are resources of their own."""


class Endpoint(Resource, module="trtspark", name="Endpoint"):
    """The API as its clients see it."""

    model: pulumi.Output[str]

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: url, model, applied."""
        super().__init__(EndpointProvider(), name, dict(props), opts)
        self.model = output(self, "model")
