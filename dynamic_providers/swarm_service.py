"""One rank's Swarm service: created or adopted, updated in place, stopped quickly.

The work is in remote/services.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, output


class SwarmServiceProvider(Provider):
    """`spec` (cluster/service_spec.py), `image`, `manager` and `node` (connections) -> serviceId."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A service's name is its identity; all else is updated in place."""
        olds, news = ({**p, "name": p["spec"]["Name"]} for p in (_olds, _news))
        return changed(olds, news, ("spec", "image"), replaces=("name",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Create, or bring the service of this name to the spec when it is ours."""
        from remote.services import apply

        outs = apply(props)
        return CreateResult(id_=outs["serviceId"], outs=outs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Give Swarm the new spec and end the old container at once."""
        from remote.services import apply

        return UpdateResult(outs=apply(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The spec as the Swarm has it now; an empty id when the service is gone."""
        from remote.services import inspect

        if "spec" not in props:
            return ReadResult(id_, props)
        found = inspect(props)
        if found is None:
            return ReadResult("", {})
        inputs = {key: found[key] for key in ("spec", "image", "manager", "node")}
        return ReadResult(found["serviceId"], found, inputs)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the service and wait until its container is gone."""
        from remote.services import remove

        remove(_props)


class SwarmService(Resource, module="trtspark", name="SwarmService"):
    """The service of one rank."""

    def __init__(
        self,
        name: str,
        spec: Mapping[str, Any],
        image: pulumi.Input[str],
        manager: Mapping[str, Any],
        node: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`manager` is the head's connection, `node` that of the machine this rank runs on."""
        props = {"spec": dict(spec), "image": image, "manager": manager, "node": node}
        super().__init__(SwarmServiceProvider(), name, {**props, "serviceId": None, "applied": None}, opts)
        self.applied = output(self, "applied")
