"""The readiness gate: the right model answers, on every rank, over the transport that was planned.

The work is in remote/readiness.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, output, progress

_INPUTS = (
    "url",
    "model",
    "transport",
    "network",
    "connections",
    "ncclDebug",
    "service",
    "manager",
    "timeout",
    "applied",
)


class EndpointProvider(Provider):
    """The inputs below -> readySeconds, provenTransport."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Any change of what serves is gated again."""
        return changed(_olds, _news, ("url", "model", "transport", "network", "applied"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait until it answers."""
        from remote.readiness import gate

        return CreateResult(id_=props["url"], outs=gate(props, progress()))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Wait until the new one answers."""
        from remote.readiness import gate

        return UpdateResult(outs=gate(_news, progress()))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Which model really answers now; "" when none does."""
        if "url" not in props:
            return ReadResult(id_, props)
        from remote.readiness import serving_now

        serving = serving_now(props["url"])
        outs = {**props, "model": serving}
        return ReadResult(id_, outs, {key: outs[key] for key in _INPUTS if key in outs})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing to undo: the services are resources of their own."""


class Endpoint(Resource, module="trtspark", name="Endpoint"):
    """The API as its clients see it."""

    ready_seconds: pulumi.Output[float]
    proven_transport: pulumi.Output[list[str]]

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: url, model, transport (IB, any, none), network (cluster/transport.py's), connections (of
        all ranks), ncclDebug, service, manager, timeout (s), applied.
        """
        outs = {"readySeconds": None, "provenTransport": None}
        super().__init__(EndpointProvider(), name, {**props, **outs}, opts)
        self.ready_seconds = output(self, "readySeconds")
        self.proven_transport = output(self, "provenTransport")
