"""One rank's Swarm service: created or adopted, updated in place, stopped quickly."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pulumi
from docker.errors import APIError, NotFound
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from cluster.errors import NodeError, NotReady
from cluster.service_spec import observed
from cluster.swarm_plan import RANK_LABEL, STACK_LABEL
from dynamic_providers.base import Provider, changed
from remote.engine import connect
from remote.ssh import Connection

STOP_DEADLINE_S = 60
POLL_S = 0.05


class SwarmServiceProvider(Provider):
    """`spec` (cluster/service_spec.py), `image`, `manager` and `node` (connections) -> serviceId."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A service's name is its identity; all else is updated in place."""
        olds, news = ({**p, "name": p["spec"]["Name"]} for p in (_olds, _news))
        return changed(olds, news, ("spec", "image"), replaces=("name",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Create, or bring the service of this name to the spec when it is ours."""
        outs = apply(props)
        return CreateResult(id_=outs["serviceId"], outs=outs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Give Swarm the new spec and end the old container at once."""
        return UpdateResult(outs=apply(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The spec as the Swarm has it now; an empty id when the service is gone."""
        if "spec" not in props:
            return ReadResult(id_, props)
        client = connect(Connection.from_props(props["manager"]))
        try:
            found = client.inspect_service(props["spec"]["Name"])
        except APIError as error:
            if error.status_code in (404, 406, 503):  # no such service; no Swarm to ask
                return ReadResult("", {})
            raise
        container = found["Spec"]["TaskTemplate"]["ContainerSpec"]
        keys = ("spec", "image", "manager", "node")
        inputs = {key: props[key] for key in keys}
        inputs["spec"] = _without_ids(observed(props["spec"], _plain(found["Spec"], props["spec"])))
        inputs["image"] = container["Image"]
        return ReadResult(found["ID"], {**props, **inputs, "serviceId": found["ID"]}, inputs)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the service and wait until its container is gone."""
        manager = connect(Connection.from_props(_props["manager"]))
        old = _containers(_props)
        try:
            manager.remove_service(_props["spec"]["Name"])
        except APIError as error:
            if error.status_code not in (404, 406, 503):
                raise
        _stop(_props, old)


def apply(props: Mapping[str, Any]) -> dict[str, Any]:
    """Create or update the service; returns when no container of an older spec runs any more."""
    manager = connect(Connection.from_props(props["manager"]))
    spec = resolved(manager, props["spec"], props["image"])
    name = spec["Name"]
    try:
        found = manager.inspect_service(name)
    except NotFound:
        created = manager.create_service(
            spec["TaskTemplate"],
            name=name,
            labels=spec["Labels"],
            mode=spec["Mode"],
            update_config=spec["UpdateConfig"],
        )
        return {**props, "serviceId": created["ID"]}
    if (found["Spec"].get("Labels") or {}).get(STACK_LABEL) != spec["Labels"][STACK_LABEL]:
        raise NodeError(
            Connection.from_props(props["manager"]).host,
            f"a service named {name} is there already and is not ours.",
            f"Remove it (`docker service rm {name}`) or rename it.",
        )
    restarts = any(
        observed(spec[part], found["Spec"][part]) != spec[part] for part in ("TaskTemplate", "Mode")
    )
    old = _containers(props) if restarts else set()
    manager.update_service(
        found["ID"],
        found["Version"]["Index"],
        task_template=spec["TaskTemplate"],
        name=name,
        labels=spec["Labels"],
        mode=spec["Mode"],
        update_config=spec["UpdateConfig"],
    )
    _stop(props, old)
    return {**props, "serviceId": found["ID"]}


def resolved(manager: Any, spec: Mapping[str, Any], image: str) -> dict[str, Any]:
    """The spec as the API takes it: with the image, and with ids beside the names of our objects."""
    task = spec["TaskTemplate"]
    container = {**task["ContainerSpec"], "Image": image}
    for kind, listing in (("Config", manager.configs), ("Secret", manager.secrets)):
        references = task["ContainerSpec"][f"{kind}s"]
        if not references:
            continue
        ids = {entry["Spec"]["Name"]: entry["ID"] for entry in listing()}
        container[f"{kind}s"] = [
            {**reference, f"{kind}ID": ids[reference[f"{kind}Name"]]} for reference in references
        ]
    whole: dict[str, Any] = _whole_numbers({**spec, "TaskTemplate": {**task, "ContainerSpec": container}})
    return whole


def _containers(props: Mapping[str, Any]) -> set[str]:
    """Ids of this rank's running containers on its node."""
    labels = props["spec"]["Labels"]
    wanted = [f"{key}={labels[key]}" for key in (STACK_LABEL, RANK_LABEL)]
    client = connect(Connection.from_props(props["node"]))
    return {entry["Id"] for entry in client.containers(filters={"label": wanted})}


def _stop(props: Mapping[str, Any], old: set[str]) -> None:
    """End these containers at once, and return when they are gone.

    Swarm itself waits two seconds before it stops a task on the host's network, for the sake of load
    balancers that are not there.
    """
    client = connect(Connection.from_props(props["node"]))
    for container in old:
        with suppress(APIError):  # gone already
            client.kill(container, "SIGTERM")
    deadline = time.monotonic() + STOP_DEADLINE_S
    while left := old & _containers(props):
        if time.monotonic() > deadline:
            raise NotReady(
                f"{Connection.from_props(props['node']).host}: waited {STOP_DEADLINE_S} s for container "
                f"{min(left)[:12]} to end after SIGTERM. `docker kill` it there, then run the same again."
            )
        time.sleep(POLL_S)


def _plain(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The engine names the host network by its id: where there is one network as wanted, it is that."""
    task = dict(actual["TaskTemplate"])
    if len(task.get("Networks") or []) == len(wanted["TaskTemplate"]["Networks"]):
        task["Networks"] = wanted["TaskTemplate"]["Networks"]
    return {**actual, "TaskTemplate": task}


def _without_ids(spec: dict[str, Any]) -> dict[str, Any]:
    container = spec["TaskTemplate"]["ContainerSpec"]
    for kind in ("Config", "Secret"):
        container[f"{kind}s"] = [
            {key: value for key, value in reference.items() if key != f"{kind}ID"}
            for reference in container[f"{kind}s"] or []
        ]
    return spec


def _whole_numbers(value: Any) -> Any:
    """Pulumi carries numbers as floats; the Engine API wants integers."""
    if isinstance(value, dict):
        return {key: _whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
        super().__init__(SwarmServiceProvider(), name, {**props, "serviceId": None}, opts)
