"""Creating, updating and removing a rank's Swarm service, for dynamic_providers/swarm_service.py."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker.errors import APIError, NotFound

from cluster.errors import NodeError, NotReady
from cluster.service_spec import NANOSECONDS, observed
from cluster.swarm_plan import RANK_LABEL, STACK_LABEL
from remote.engine import connect
from remote.ssh import Connection

STOP_DEADLINE_S = 60
POLL_S = 0.05
#: No such service; this node is in no Swarm or does not manage it (which code depends on the version).
_GONE = (404, 406, 503)


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
        return {**props, "serviceId": created["ID"], "applied": _version(manager, name)}
    if (found["Spec"].get("Labels") or {}).get(STACK_LABEL) != spec["Labels"][STACK_LABEL]:
        raise NodeError(
            Connection.from_props(props["manager"]).host,
            f"a service named {name} is there already and is not ours.",
            f"Remove it (`docker service rm {name}`) or rename it.",
        )
    there = _plain(found["Spec"], spec)
    restarts = any(observed(spec[part], there[part]) != spec[part] for part in ("TaskTemplate", "Mode"))
    old = _containers(props) if restarts else set()
    # Swarm waits two seconds before it stops a task on the host's network, for the sake of load balancers
    # that are not there; but a task that is dead already is replaced at once. So the old container is asked
    # to end (it drains its clients first) just before the node hears that it should stop.
    _end(props, old, _grace_s(found["Spec"]))
    manager.update_service(
        found["ID"],
        found["Version"]["Index"],
        task_template=spec["TaskTemplate"],
        name=name,
        labels=spec["Labels"],
        mode=spec["Mode"],
        update_config=spec["UpdateConfig"],
    )
    _wait_until_gone(props, old)
    return {**props, "serviceId": found["ID"], "applied": _version(manager, name)}


def _version(manager: Any, name: str) -> str:
    """Swarm's version of the service, which every change raises: what serves has to prove itself again."""
    return str(manager.inspect_service(name)["Version"]["Index"])


def inspect(props: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inputs as the Swarm has them now, and the service's id; None when the service is gone."""
    client = connect(Connection.from_props(props["manager"]))
    try:
        found = client.inspect_service(props["spec"]["Name"])
    except APIError as error:
        if error.status_code in _GONE:
            return None
        raise
    spec = _without_ids(observed(props["spec"], _plain(found["Spec"], props["spec"])))
    image = found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    return {**props, "spec": spec, "image": image, "serviceId": found["ID"]}


def remove(props: Mapping[str, Any]) -> None:
    """Remove the service and every container it ever had on its node.

    Swarm would remove those in its own time; a node that leaves the Swarm before keeps them for ever.
    """
    manager = connect(Connection.from_props(props["manager"]))
    try:
        manager.remove_service(props["spec"]["Name"])
    except APIError as error:
        if error.status_code not in _GONE:
            raise
    client = connect(Connection.from_props(props["node"]))
    deadline = time.monotonic() + STOP_DEADLINE_S
    while left := _containers(props, running=False):
        for container in left:
            with suppress(APIError):  # Swarm is at it too
                client.remove_container(container, force=True)
        _in_time(deadline, props, left)


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


def _containers(props: Mapping[str, Any], running: bool = True) -> set[str]:
    """Ids of this rank's containers on its node: the running ones, or all."""
    labels = props["spec"]["Labels"]
    wanted = [f"{key}={labels[key]}" for key in (STACK_LABEL, RANK_LABEL)]
    client = connect(Connection.from_props(props["node"]))
    return {entry["Id"] for entry in client.containers(all=not running, filters={"label": wanted})}


def _grace_s(spec: Mapping[str, Any]) -> float:
    """Seconds that the service's own container may take to end."""
    period = spec["TaskTemplate"]["ContainerSpec"].get("StopGracePeriod") or 0
    return float(period) / NANOSECONDS


def _end(props: Mapping[str, Any], containers: set[str], grace_s: float) -> None:
    """SIGTERM, and SIGKILL to what is still there after its grace period."""
    client = connect(Connection.from_props(props["node"]))
    for signal in ("SIGTERM", "SIGKILL"):
        for container in containers & _containers(props):
            with suppress(APIError):  # gone already
                client.kill(container, signal)
        deadline = time.monotonic() + grace_s
        while containers & _containers(props) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _wait_until_gone(props: Mapping[str, Any], containers: set[str]) -> None:
    deadline = time.monotonic() + STOP_DEADLINE_S
    while left := containers & _containers(props):
        _in_time(deadline, props, left)


def _in_time(deadline: float, props: Mapping[str, Any], left: set[str]) -> None:
    if time.monotonic() > deadline:
        raise NotReady(
            f"{Connection.from_props(props['node']).host}: waited {STOP_DEADLINE_S} s for container "
            f"{min(left)[:12]} to end. `docker kill` it there, then run the same again."
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
