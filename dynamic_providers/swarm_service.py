"""One rank's Swarm service: created or adopted, updated in place, drained and stopped quickly.

Rank 0's is the server: it is gated, and when the new one does not become ready the one before comes back.
The work is in remote/services.py and remote/serving.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from cluster.service_spec import runs
from dynamic_providers.base import (
    Provider,
    as_read,
    between,
    changed,
    elsewhere,
    given_up,
    kept_on_failure,
    machines,
    output,
    progress,
    warn,
)

#: Of the gate's inputs, those whose change makes the server prove itself again.
_PROVEN = ("url", "model", "transport", "network")


class SwarmServiceProvider(Provider):
    """`spec` (cluster/service_spec.py), `image`, `manager` and `node` (connections), `found` (what a look saw
    running), for rank 0 `gate` and `workers` too -> serviceId, applied; with a gate readySeconds,
    provenTransport, loadRate.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A service's name is its identity; all else is updated in place, and so is what runs as something
        else than the spec says: left by an interrupted run, or dead.
        """
        olds, news = (_compared(props) for props in (_olds, _news))
        olds["runs"], news["runs"] = runs(_news["spec"]), _news["found"]
        return changed(olds, news, ("spec", "image", "gate", "workers", "runs"), replaces=("name",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Create, or bring the service of this name to the spec when it is ours.

        A server that does not become ready stays in the state, without a gate: there is nothing good in it to
        go back to.
        """
        from remote.serving import serve

        failed = {**props, "gate": {}} if "gate" in props else props
        with kept_on_failure(props["spec"]["Name"], {**failed, "serviceId": "", "applied": ""}):
            outs = serve(props, None, progress(), warn())
        return CreateResult(id_=outs["serviceId"], outs=outs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Give Swarm the new spec; the old container drains and ends at once."""
        from remote.services import moved
        from remote.serving import serve

        left = elsewhere(_olds, _news, "node")
        with kept_on_failure(_id, between(_olds, _news, "node")) if left else nullcontext():
            outs = serve(_news, _olds, progress(), warn())
            for login in left:
                with given_up(login["host"], warn()):
                    moved({**_olds, "node": login})
        return UpdateResult(outs={key: value for key, value in outs.items() if key != "others"})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The spec as the Swarm has it now, and what runs; an empty id when the service is gone."""
        from remote.services import inspect

        if "spec" not in props:
            return ReadResult(id_, props)
        found = inspect(props)
        if found is None:
            return ReadResult("", {})
        return as_read(found["serviceId"], found, _INPUTS)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the service and wait until its container is gone."""
        from remote.services import moved, remove

        first, *others = machines(_props, "node")
        with given_up(first["host"], warn()):
            remove(_props)
        for login in others:
            with given_up(login["host"], warn()):
                moved({**_props, "node": login})


_INPUTS = ("spec", "image", "manager", "node", "found", "gate", "workers")


def _compared(props: Mapping[str, Any]) -> dict[str, Any]:
    # A targeted run asks with inputs that it does not know yet.
    gate, workers = props.get("gate") or {}, props.get("workers") or []
    return {
        "name": props["spec"]["Name"],
        "spec": props["spec"],
        "image": props["image"],
        "gate": {key: gate[key] for key in _PROVEN if key in gate}
        if isinstance(gate, Mapping)
        else "unknown",
        "workers": [worker["applied"] for worker in workers] if isinstance(workers, list) else "unknown",
    }


class SwarmService(Resource, module="trtspark", name="SwarmService"):
    """The service of one rank."""

    applied: pulumi.Output[str]
    ready_seconds: pulumi.Output[float]
    proven_transport: pulumi.Output[list[str]]

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: spec, image, manager (the head's connection), node (that of the rank's machine), found;
        for rank 0 gate ({} while stopped) and workers (each spec, image, node, applied).
        """
        outs = {"serviceId": None, "applied": None}
        if "gate" in props:
            outs |= {"readySeconds": None, "provenTransport": None, "loadRate": None}
        super().__init__(SwarmServiceProvider(), name, {**props, **outs}, opts)
        self.applied = output(self, "applied")
        if "gate" in props:
            self.ready_seconds = output(self, "readySeconds")
            self.proven_transport = output(self, "provenTransport")
