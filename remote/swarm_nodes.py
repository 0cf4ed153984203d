"""One machine and its Swarm: labels, leaving, and what a Swarm leaves on it; for remote/swarm.py."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker.errors import APIError, NotFound

from cluster.errors import NodeError, NotReady, Unreachable
from cluster.swarm_plan import LEDGER_LABEL, RANK_LABEL, STACK_LABEL
from remote.engine import connect
from remote.ssh import Connection

BRIDGE = "docker_gwbridge"
BRIDGE_DEADLINE_S = 5
POLL_S = 0.05


def dial(node: Mapping[str, Any]) -> Any:
    """The engine of one of the Swarm resource's nodes ({"connection", …}). Raises TrtSparkError."""
    return connect(Connection.from_props(node["connection"]))


def parallel(work: Any, items: Sequence[Any]) -> list[Any]:
    """`work` of every item, all at once; the results in the items' order."""
    if not items:
        return []
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))


def leave(node: Mapping[str, Any], bare: Collection[str]) -> None:
    """Take a machine out of its Swarm, and out of those `bare` the bridge that Docker makes for a Swarm.

    Raises Unreachable for a machine that cannot be told, and one whose Docker does not answer is no better:
    whether to give it up is the caller's.
    """
    try:
        docker = dial(node)
        docker.leave_swarm(force=True)
    except APIError as error:
        if error.status_code != 503:  # "not part of a swarm": gone already
            raise
    except NodeError as error:
        raise Unreachable(error.node, error.found, error.todo) from None
    if node["name"] in bare:
        _unbridge(docker)


def without_bridge(docker: Any) -> bool:
    """Whether the machine lacks the bridge that Docker makes when it joins a Swarm, and never removes."""
    return not docker.networks(names=[BRIDGE])


def _unbridge(docker: Any) -> None:
    """Docker takes its own part of the bridge away a moment after it has left. Who else uses it keeps it."""
    deadline = time.monotonic() + BRIDGE_DEADLINE_S
    while True:
        try:
            docker.remove_network(BRIDGE)
        except NotFound:
            return
        except APIError:
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_S)
        else:
            return


def forget(head: Mapping[str, Any], node_id: str) -> None:
    """Take a node off the manager's list, whatever its state; "" and one that is not on it are nothing."""
    if not node_id:
        return
    try:
        dial(head).remove_node(node_id, force=True)
    except APIError as error:
        if error.status_code not in (404, 406, 503):  # not on it, or the head manages no Swarm any more
            raise


def label(client: Any, node_id: str, labels: Mapping[str, str | None]) -> None:
    """Write labels over a node's own; a concurrent change of the node's version is tried again."""
    for _ in range(5):
        found = client.inspect_node(node_id)
        merged = {**(found["Spec"].get("Labels") or {}), **labels}
        spec = {**found["Spec"], "Labels": {k: v for k, v in merged.items() if v is not None}}
        try:
            client.update_node(node_id, found["Version"]["Index"], node_spec=spec)
        except APIError as error:
            if "out of sequence" not in str(error):
                raise
        else:
            return
    raise NotReady(f"Swarm node {node_id}: its labels could not be written in 5 tries.")


def unlabel(client: Any, node_id: str) -> None:
    """Take our labels off a node; one that the manager does not list has none."""
    try:
        label(client, node_id, {STACK_LABEL: None, RANK_LABEL: None, LEDGER_LABEL: None})
    except APIError as error:
        if error.status_code != 404:
            raise
