"""Whatever a stack has left on a machine, by its label and its name: for remote/swarm.py.

A run that was killed, or a lost state, knows less than the machines do. Only what names the stack is touched,
and what is gone already is no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from docker.errors import APIError, NotFound

from cluster.live.seen import rank_of
from cluster.service_spec import kernel_volume, ssh_folder
from cluster.swarm_plan import STACK_LABEL
from remote import fabric_addresses, gpu_clock, gpu_runtime, rank_access, services, ssh_client, weights
from remote.swarm_nodes import dial


def clear(node: Mapping[str, Any], stack: str) -> None:
    """Remove the stack's containers, its compiled kernels, its copy of the ssh client and its MPI key from a
    machine that has left its Swarm. Raises NodeError, Unreachable among them.
    """
    client = dial(node)
    for container in client.containers(all=True, filters={"label": [f"{STACK_LABEL}={stack}"]}):
        with suppress(APIError):  # just gone
            client.remove_container(container["Id"], force=True)
    services.remove_volume(client, kernel_volume(stack), stack)
    ssh_client.run({"connection": node["connection"], "folder": ssh_folder(stack)}, "drop")
    rank_access.revoke({"connection": node["connection"], "stack": stack})


def take_over(node: Mapping[str, Any], old: str) -> dict[str, Any]:
    """`clear` of a stack whose machine this one's becomes, and its records of the weights; the files stay."""
    clear(node, old)
    return weights.forget({"stack": old, "connections": [node["connection"]]}, delete=False)


def give_back(node: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """`clear`, and undo what the machine's own resources did, which no state knows any more. Likewise.
    {"notes": what could not be known}.
    """
    done = [take_over(node, stack)]
    props = {"connection": node["connection"], "stack": stack}
    done.append(fabric_addresses.remove({**props, "addresses": {}}, lambda _text: None))
    done.append(gpu_clock.give_back(props))
    done.append(gpu_runtime.give_back(props))
    return {"notes": [note for one in done for note in one.get("notes", [])]}


def remove_objects(client: Any, stack: str, ranks: int = 0) -> None:
    """Remove the stack's services from rank `ranks` on; all of them go with its configs and secrets."""
    for service in client.services(filters={"label": f"{STACK_LABEL}={stack}"}):
        if (rank_of(service["Spec"].get("Labels")) or 0) >= ranks:
            with suppress(NotFound):
                client.remove_service(service["ID"])
    if ranks:
        return
    for listing, remove in ((client.configs, client.remove_config), (client.secrets, client.remove_secret)):
        for entry in listing():
            if (entry["Spec"].get("Labels") or {}).get(STACK_LABEL) == stack:
                with suppress(NotFound):
                    remove(entry["ID"])
