"""The Swarm config with rank 0's program, for dynamic_providers/rank_program.py."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker.errors import APIError, NotFound

from cluster.errors import NodeError
from cluster.service_spec import object_name
from cluster.swarm_plan import STACK_LABEL
from remote import rank0
from remote.engine import connect
from remote.ssh import Connection

#: The same name is there already: of an earlier run, or made at this moment.
_CONFLICT = 409
#: No such config; this node is in no Swarm, or does not manage it (which code depends on Docker's version).
_GONE = (404, 406, 503)


def ensure(props: Mapping[str, Any]) -> None:
    """Make the config unless the Swarm has it. Raises NodeError when this checkout has another program than
    the plan, which a change of the files during `up` would cause.
    """
    connection = Connection.from_props(props["manager"])
    data = rank0.program()
    if object_name(props["stack"], "program", data) != props["name"]:
        raise NodeError(
            connection.host,
            "rank 0's program changed while `pulumi up` was running.",
            "Run `pulumi up` again.",
        )
    try:
        connect(connection).create_config(props["name"], data, labels={STACK_LABEL: props["stack"]})
    except APIError as error:
        if error.status_code != _CONFLICT:
            raise


def exists(props: Mapping[str, Any]) -> bool:
    """Whether the Swarm has it; a node without a Swarm has none."""
    client = connect(Connection.from_props(props["manager"]))
    try:
        return any(one["Spec"]["Name"] == props["name"] for one in client.configs())
    except APIError as error:
        if error.status_code in _GONE:
            return False
        raise


def remove(props: Mapping[str, Any]) -> None:
    """Remove the config. A service of this stack that still uses it has no resource (those are deleted
    before): it was made by a run whose state is lost, and goes first.
    """
    client = connect(Connection.from_props(props["manager"]))
    try:
        listed = client.configs()
        for service in client.services(filters={"label": f"{STACK_LABEL}={props['stack']}"}):
            container = service["Spec"]["TaskTemplate"]["ContainerSpec"]
            if any(one["ConfigName"] == props["name"] for one in container.get("Configs") or []):
                with suppress(NotFound):
                    client.remove_service(service["ID"])
        for config in listed:
            if config["Spec"]["Name"] == props["name"]:
                with suppress(NotFound):
                    client.remove_config(config["ID"])
    except APIError as error:
        if error.status_code not in _GONE:
            raise
