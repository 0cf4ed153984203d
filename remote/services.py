"""Creating, updating and removing a rank's Swarm service, for dynamic_providers/swarm_service.py."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker.errors import APIError, NotFound

from cluster.errors import NodeError, NotReady, PlanError
from cluster.live.seen import seconds
from cluster.service_spec import (
    NANOSECONDS,
    NOTHING,
    PAUSED,
    SILENT,
    observed,
    runs,
    seen,
    told,
    volumes,
    with_image,
)
from cluster.spec_drift import given, in_shape, plain, whole_numbers
from cluster.swarm_plan import RANK_LABEL, STACK_LABEL
from remote import live
from remote.engine import connect
from remote.ssh import Connection

STOP_DEADLINE_S = 60
POLL_S = 0.05
#: Swarm's words for a version that is not the newest, and how often that may happen in a row.
OUT_OF_SEQUENCE = "out of sequence"
TRIES = 5
#: What hangs, or was paused, has nothing to finish.
DEAD_GRACE_S = 10
#: Of a task that Swarm has given up, the desired state is "shutdown".
_WANTED = ("ready", "running")
#: No such service; this node is in no Swarm or does not manage it (which code depends on the version).
_GONE = (404, 406, 503)


def apply(props: Mapping[str, Any], load_s: float = 0.0, again: bool = False) -> dict[str, Any]:
    """Create or update the service; returns when no container of an older spec runs any more.

    A server that the look found SILENT is started again, unless it answers now, or is younger than `load_s`
    seconds and so may be loading still; with `again`, whatever runs is. Swarm's own doings raise the
    service's version as well: an update that meets one is begun again.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return _apply(props, load_s, again)
        except APIError as error:
            if OUT_OF_SEQUENCE not in str(error) or attempt == TRIES:
                raise
    raise AssertionError("the last try returns or raises")


def _apply(props: Mapping[str, Any], load_s: float, again: bool) -> dict[str, Any]:
    manager = connect(Connection.from_props(props["manager"]))
    spec = resolved(manager, props["spec"], props["image"])
    name = spec["Name"]
    try:
        found = manager.inspect_service(name)
    except NotFound:
        # Of a service that somebody removed. It may serve for a while yet, and would answer for the new one.
        if left := _containers(props):
            _end(props, left, _grace_s(spec))
            _wait_until_gone(props, left)
        created = manager.create_service(
            spec["TaskTemplate"],
            name=name,
            labels=spec["Labels"],
            mode=spec["Mode"],
            update_config=spec["UpdateConfig"],
        )
        return _outs(props, created["ID"], _version(manager, name))
    if (found["Spec"].get("Labels") or {}).get(STACK_LABEL) != spec["Labels"][STACK_LABEL]:
        raise NodeError(
            Connection.from_props(props["manager"]).host,
            f"a service named {name} is there already and is not ours.",
            f"Remove it (`docker service rm {name}`) or rename it.",
        )
    there = plain(found["Spec"], spec)
    wanted, here = runs(spec), _fingerprints(props)
    other = bool(_other_image(props))
    dead = bool(here) and wanted != NOTHING
    dead = dead and (again or PAUSED in here.values() or _dead(props, load_s))
    differs = {part for part in spec if observed(spec[part], there.get(part)) != spec[part]}
    if not (differs or other or dead) and (set(here.values()) or {NOTHING}) == {wanted}:
        # Adopted as it is, after a lost state: what serves goes on serving.
        return _outs(props, found["ID"], str(found["Version"]["Index"]))
    # An interrupted update has changed the service, and Swarm may not have come to the container yet.
    stale = bool(set(here.values()) - {wanted})
    restarts = other or dead or stale or bool(differs & {"TaskTemplate", "Mode"})
    forced = found["Spec"]["TaskTemplate"].get("ForceUpdate", 0)
    if wanted != NOTHING and (other or dead or not (here or _expected(manager, found["ID"]))):
        # It may have ended too often, also before somebody stopped it, or it runs another image, or does
        # nothing: Swarm starts a changed task anew, and no other.
        forced += 1
    spec["TaskTemplate"]["ForceUpdate"] = forced
    if restarts and props.get("server"):
        pause(manager, props["server"])
    old = set(here) if restarts else set()
    manager.update_service(
        found["ID"],
        found["Version"]["Index"],
        task_template=spec["TaskTemplate"],
        name=name,
        labels=spec["Labels"],
        mode=spec["Mode"],
        update_config=spec["UpdateConfig"],
    )
    # Swarm waits two seconds before it stops a task on the host's network, for the sake of load balancers
    # that are not there; a task that ends by itself is replaced at once. So the old container is asked now.
    grace = _grace_s(found["Spec"])
    _end(props, old, min(grace, DEAD_GRACE_S) if dead else grace)
    _wait_until_gone(props, old)
    return _outs(props, found["ID"], _version(manager, name))


def _outs(props: Mapping[str, Any], service: str, version: str) -> dict[str, Any]:
    kept = given(props["spec"], props["image"])
    return {**props, "serviceId": service, "applied": version, "given": kept}


def _expected(manager: Any, service: str) -> bool:
    """Whether Swarm still means to run it: it waits for a node or its GPU, or starts it right now. Told to
    start it anew, it would stop it again at once, and take rank 0 along.
    """
    tasks = manager.tasks(filters={"service": service})
    return any(task["DesiredState"] in _WANTED for task in tasks)


def _dead(props: Mapping[str, Any], load_s: float) -> bool:
    """Whether a server that gave the look no answer gives none now, and should.

    Between the look and this it may have been started again by itself: that is not to be done twice.
    """
    if not str(props.get("found", "")).startswith(SILENT):
        return False
    # A server that waited for a worker has only begun to load when that one came.
    youngest = min(_age_s(one) for one in (props, *(props.get("workers") or ())))
    return youngest >= load_s and live.silence(props["gate"]["url"]) not in ("", live.LATE)


def _age_s(props: Mapping[str, Any]) -> float:
    """Seconds since the newest of this rank's running containers was started, by its node's clock."""
    client = connect(Connection.from_props(props["node"]))
    started = [0.0]
    for container in _fingerprints(props):
        with suppress(NotFound):  # just ended
            started.append(seconds(client.inspect_container(container)["State"]["StartedAt"]))
    return seconds(client.info()["SystemTime"]) - max(started)


def pause(manager: Any, server: Mapping[str, Any]) -> None:
    """Stop rank 0, drained, before a worker's container goes: its ranks would die with requests in them.

    Rank 0's own service comes after its workers' and starts it again.
    """
    try:
        found = manager.inspect_service(server["name"])
    except NotFound:
        return
    here = {"node": server["node"], "spec": {"Labels": found["Spec"]["Labels"]}}
    old = _containers(here)
    _end(here, old, _grace_s(found["Spec"]))
    spec = found["Spec"]
    manager.update_service(
        found["ID"],
        found["Version"]["Index"],
        task_template=spec["TaskTemplate"],
        name=spec["Name"],
        labels=spec["Labels"],
        mode={"Replicated": {"Replicas": 0}},
        update_config=spec.get("UpdateConfig"),
    )
    _wait_until_gone(here, old)


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
    spec = in_shape(props["spec"], found["Spec"])
    running = seen(_running(props), runs(found["Spec"]))
    image = spec_image(found["Spec"])
    if image == props["image"]:
        image = _other_image(props) or image
    return {**props, "spec": spec, "image": image, "serviceId": found["ID"], "found": running}


def spec_image(spec: Mapping[str, Any]) -> str:
    """The image that a spec of Swarm's own names."""
    return str(spec["TaskTemplate"]["ContainerSpec"]["Image"])


def _other_image(props: Mapping[str, Any]) -> str:
    """The image that this rank's container was started from, where it has another digest; else ""."""
    client = connect(Connection.from_props(props["node"]))
    for entry in client.containers(filters=_labels(props)):
        with suppress(NotFound):  # just gone
            image = str(client.inspect_container(entry["Id"])["Config"]["Image"])
            wanted = props["image"].rpartition("@")[2]
            return image if "@" in props["image"] and image.rpartition("@")[2] != wanted else ""
    return ""


def _running(props: Mapping[str, Any]) -> str:
    """The fingerprint of the spec that this rank's container was started from, or PAUSED; NOTHING without
    one.
    """
    return next(iter(_fingerprints(props).values()), NOTHING)


def _fingerprints(props: Mapping[str, Any]) -> dict[str, str]:
    """Of this rank's running containers on its node, by id, newest first; PAUSED of one that is paused."""
    client = connect(Connection.from_props(props["node"]))
    found = client.containers(filters=_labels(props))
    return {entry["Id"]: told(entry.get("State"), entry.get("Labels") or {}) for entry in found}


def remove(props: Mapping[str, Any]) -> None:
    """Remove the service and everything it ever had on its node: containers, and the compiled kernels."""
    manager = connect(Connection.from_props(props["manager"]))
    try:
        manager.remove_service(props["spec"]["Name"])
    except APIError as error:
        if error.status_code not in _GONE:
            raise
    clear(props)


def clear(props: Mapping[str, Any]) -> None:
    """Remove a rank's containers and volume from its node, once no service starts it there any more.

    Swarm would remove containers in its own time; a node that leaves the Swarm before keeps them for ever.
    """
    client = connect(Connection.from_props(props["node"]))
    deadline = time.monotonic() + STOP_DEADLINE_S
    while left := _containers(props, running=False):
        for container in left:
            with suppress(APIError):  # Swarm is at it too
                client.remove_container(container, force=True)
        _in_time(deadline, props, left)
    for name in volumes(props["spec"]):
        remove_volume(client, name, props["spec"]["Labels"][STACK_LABEL])


def moved(before: Mapping[str, Any]) -> None:
    """Clear the node that had a rank before, `before` being the service's properties then.

    One that is still in a Swarm has another rank now, or is the same machine under another name.
    """
    client = connect(Connection.from_props(before["node"]))
    if client.info()["Swarm"]["LocalNodeState"] == "inactive":
        clear(before)


def remove_volume(client: Any, name: str, stack: str) -> None:
    """A volume that Docker did not make for this stack stays, and so does one that a container uses."""
    try:
        if (client.inspect_volume(name).get("Labels") or {}).get(STACK_LABEL) == stack:
            client.remove_volume(name)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


def resolved(manager: Any, spec: Mapping[str, Any], image: str) -> dict[str, Any]:
    """The spec as the API takes it: with the image, and with ids beside the names of our objects."""
    task = spec["TaskTemplate"]
    container = with_image(task["ContainerSpec"], image)
    for kind, listing in (("Config", manager.configs), ("Secret", manager.secrets)):
        references = task["ContainerSpec"][f"{kind}s"]
        if not references:
            continue
        ids = {entry["Spec"]["Name"]: entry["ID"] for entry in listing()}
        lacking = [one[f"{kind}Name"] for one in references if one[f"{kind}Name"] not in ids]
        if lacking:
            raise PlanError(
                f"{spec['Name']}: the Swarm has no {kind.lower()} {lacking[0]}: somebody removed it, or the "
                "Swarm is another one since the plan was made. Run `pulumi up` again, which looks anew."
            )
        container[f"{kind}s"] = [
            {**reference, f"{kind}ID": ids[reference[f"{kind}Name"]]} for reference in references
        ]
    whole: dict[str, Any] = whole_numbers({**spec, "TaskTemplate": {**task, "ContainerSpec": container}})
    return whole


def _containers(props: Mapping[str, Any], running: bool = True) -> set[str]:
    """Ids of this rank's containers on its node: the running ones, or all."""
    client = connect(Connection.from_props(props["node"]))
    return {entry["Id"] for entry in client.containers(all=not running, filters=_labels(props))}


def _labels(props: Mapping[str, Any]) -> dict[str, list[str]]:
    labels = props["spec"]["Labels"]
    return {"label": [f"{key}={labels[key]}" for key in (STACK_LABEL, RANK_LABEL)]}


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
