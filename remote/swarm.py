"""Making, joining and leaving a Swarm by the engines' API, for dynamic_providers/swarm.py."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from docker.errors import APIError, DockerException

from cluster.errors import NodeError, NotReady, TrtSparkError
from cluster.service_spec import GPU_KIND
from cluster.swarm_plan import (
    RANK_LABEL,
    STACK_LABEL,
    Init,
    Join,
    Label,
    Listed,
    Member,
    Unlabel,
    forgotten,
    plan,
    renewals,
)
from remote.swarm_nodes import dial, forget, label, leave, parallel, unlabel, without_bridge

#: Node certificates are renewed while a node runs; ten years bear a pair that was off for months.
CERT_EXPIRY_NS = 10 * 365 * 24 * 3600 * 1_000_000_000
RESOURCE_DEADLINE_S = 60
JOIN_DEADLINE_S = 60
POLL_S = 0.05
SWARM_PORT = 2377


def ensure(props: Mapping[str, Any], olds: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the Swarm to `props`; outputs remember what we made, so that delete undoes only that."""
    nodes: Sequence[Mapping[str, Any]] = props["nodes"]
    names = [node["name"] for node in nodes]
    clients = dict(zip(names, parallel(dial, nodes), strict=True))
    by_name = {node["name"]: node for node in nodes}
    head = names[0]
    made, joined = bool(olds.get("made")), set(olds.get("joined") or [])
    bare = set(olds.get("bare") or [])

    members = _settled(clients, head)
    if renewed := renewals(names, members, joined):
        for gone in renewed:
            leave(by_name[gone.node], bare)
            if members[head].manager:
                forget(by_name[head], (olds.get("nodeIds") or {}).get(gone.node, ""))
        members = _members(clients)
    listed = _listed(clients[head], members[head])
    if stale := forgotten(names, by_name[head]["address"], members, listed):
        for gone in stale:
            leave(by_name[gone.node], bare)
        members = _members(clients)
    if members[head].manager and _made_for(clients[head], props["stack"]):
        # An earlier run was killed, or its state is lost: destroy has to end what we made all the same.
        made, joined = True, joined | {name for name in names[1:] if members[name].state == "active"}
    steps = plan(props["stack"], names, members, listed)
    bare |= {s.node for s in steps if isinstance(s, Init | Join) and without_bridge(clients[s.node])}
    if any(isinstance(step, Init) for step in steps):
        _init(clients[head], by_name[head], props["stack"])
        made = True
    joins = [step.node for step in steps if isinstance(step, Join)]
    if joins:
        token = clients[head].inspect_swarm()["JoinTokens"]["Worker"]
        manager = clients[head].info()["Swarm"]["NodeAddr"]
        parallel(lambda name: _join(clients[name], by_name[name], manager, token), joins)
        for name in set(joins) & joined:
            # It left by hand: what it was in the Swarm before is listed as down for ever.
            forget(by_name[head], (olds.get("nodeIds") or {}).get(name, ""))
        joined |= set(joins)
    if made or joins:
        members = _members(clients)
    for step in steps:
        if isinstance(step, Unlabel):
            unlabel(clients[head], step.node_id)
    for step in steps:
        if isinstance(step, Label):
            labels = {STACK_LABEL: props["stack"], RANK_LABEL: str(step.rank)}
            label(clients[head], members[step.node].node_id, labels)
    _wait_for_gpus(clients[head], nodes, members)
    return {
        **props,
        "swarmId": clients[head].inspect_swarm()["ID"],
        "made": made,
        "joined": sorted(joined & set(names)),
        "bare": sorted(bare & set(names)),
        "nodeIds": {name: members[name].node_id for name in names},
    }


def let_go(gone: Sequence[Mapping[str, Any]], olds: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Nodes that are no longer listed leave, if it was we who took them in; a dead one is forgotten."""
    for node in gone:
        if node["name"] in (olds.get("joined") or []):
            leave(node, olds.get("bare") or [])
            forget(head, olds["nodeIds"].get(node["name"], ""))


def machines(props: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All nodes the Swarm was made of; after a refresh `nodes` are those that still are as they should be."""
    known: Sequence[Mapping[str, Any]] = props.get("machines") or props["nodes"]
    return known


def dissolve(props: Mapping[str, Any]) -> None:
    """Undo `ensure`. A Swarm with services of others is left to them, without our nodes' labels."""
    nodes = machines(props)
    head = nodes[0]
    joined = [node for node in nodes[1:] if node["name"] in (props.get("joined") or [])]
    bare = props.get("bare") or []
    try:
        client = dial(head)
        if not client.info()["Swarm"].get("ControlAvailable"):
            return
    except (TrtSparkError, DockerException) as error:
        raise NodeError(
            head["name"],
            f"the Swarm's manager cannot be reached ({error}).",
            "Bring it back, or forget the Swarm with `pulumi state delete`.",
        ) from None
    foreign = [
        s["Spec"]["Name"]
        for s in client.services()
        if s["Spec"].get("Labels", {}).get(STACK_LABEL) != props["stack"]
    ]
    if props.get("made") and not foreign:
        parallel(partial(leave, bare=bare), joined)
        leave(head, bare)
        return
    for node_id in props.get("nodeIds", {}).values():
        unlabel(client, node_id)
    if not foreign:
        for node in joined:
            leave(node, bare)
            forget(head, props["nodeIds"].get(node["name"], ""))


def _members(clients: Mapping[str, Any]) -> dict[str, Member]:
    infos = parallel(lambda client: client.info()["Swarm"], list(clients.values()))
    return {
        name: Member(
            state=info["LocalNodeState"],
            node_id=info.get("NodeID", ""),
            manager=bool(info.get("ControlAvailable")),
            cluster=(info.get("Cluster") or {}).get("ID", ""),
            error=info.get("Error") or "",
            managers=tuple(one["Addr"].rpartition(":")[0] for one in info.get("RemoteManagers") or []),
        )
        for name, info in zip(clients, infos, strict=True)
    }


def _settled(clients: Mapping[str, Any], head: str) -> dict[str, Member]:
    """`_members`, once those that the head lists, and whose Docker has just started, are back in touch."""
    deadline = time.monotonic() + JOIN_DEADLINE_S
    while True:
        members = _members(clients)
        pending = {one.node_id for one in members.values() if one.state == "pending"}
        waiting = pending and pending & _listed(clients[head], members[head]).keys()
        if not waiting or time.monotonic() > deadline:
            return members
        time.sleep(POLL_S)


def _listed(client: Any, member: Member) -> dict[str, Listed]:
    if not member.manager:
        return {}
    return {n["ID"]: Listed(n["Spec"].get("Labels") or {}) for n in client.nodes()}


def _made_for(client: Any, stack: str) -> bool:
    """Whether the Swarm was made by us for this stack: it says so itself, from its first moment."""
    labels = (client.inspect_swarm().get("Spec") or {}).get("Labels") or {}
    return bool(labels.get(STACK_LABEL) == stack)


def _init(client: Any, node: Mapping[str, Any], stack: str) -> None:
    address = node["address"]
    spec = client.create_swarm_spec(node_cert_expiry=CERT_EXPIRY_NS, labels={STACK_LABEL: stack})
    client.init_swarm(advertise_addr=address, listen_addr=f"{address}:{SWARM_PORT}", swarm_spec=spec)


def _join(client: Any, node: Mapping[str, Any], manager: str, token: str) -> None:
    try:
        client.join_swarm(
            remote_addrs=[f"{manager}:{SWARM_PORT}"],
            join_token=token,
            advertise_addr=node["address"],
            listen_addr=f"{node['address']}:{SWARM_PORT}",
        )
    except APIError as error:
        raise NodeError(
            node["name"],
            f"it could not join the Swarm at {manager}:{SWARM_PORT} ({error.explanation or error}).",
            "Ports 2377/tcp, 7946/tcp+udp must be open between the nodes, and their clocks agree.",
        ) from None
    deadline = time.monotonic() + JOIN_DEADLINE_S
    while (state := client.info()["Swarm"]["LocalNodeState"]) != "active":
        if time.monotonic() > deadline:
            raise NotReady(
                f"{node['name']}: waited {JOIN_DEADLINE_S} s for it to join the Swarm; its state is {state}. "
                "Ports 2377/tcp, 7946/tcp+udp must be open between the nodes."
            )
        time.sleep(POLL_S)


def _offered(listed: Mapping[str, Any]) -> list[str]:
    resources = listed["Description"].get("Resources", {}).get("GenericResources") or []
    named = [entry.get("NamedResourceSpec") or {} for entry in resources]
    return [entry["Value"] for entry in named if entry.get("Kind") == GPU_KIND]


def _wait_for_gpus(client: Any, nodes: Sequence[Mapping[str, Any]], members: Mapping[str, Member]) -> None:
    deadline = time.monotonic() + RESOURCE_DEADLINE_S
    while True:
        listed = {entry["ID"]: entry for entry in client.nodes()}
        missing = [
            node["name"]
            for node in nodes
            if (entry := listed.get(members[node["name"]].node_id)) is None
            or entry["Status"]["State"] != "ready"
            or node["gpu"] not in _offered(entry)
        ]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise NotReady(
                f"{', '.join(missing)}: waited {RESOURCE_DEADLINE_S} s for the Swarm to list its GPU as a "
                f"resource. `docker node inspect self` there should show {GPU_KIND}."
            )
        time.sleep(POLL_S)


def present(props: Mapping[str, Any]) -> set[str]:
    """The names of the nodes that are in the Swarm, with our labels, ready and with their GPU offered."""
    known = machines(props)
    client = dial(known[0])
    if not client.info()["Swarm"].get("ControlAvailable"):
        return set()
    listed = {entry["ID"]: entry for entry in client.nodes()}
    ids = props.get("nodeIds") or {}
    inside = parallel(lambda node: _inside(node, ids.get(node["name"], "")), known)
    found = set()
    for rank, node in enumerate(known):
        entry = listed.get(ids.get(node["name"], ""))
        labels = (entry or {}).get("Spec", {}).get("Labels") or {}
        ours = labels.get(STACK_LABEL) == props["stack"] and labels.get(RANK_LABEL) == str(rank)
        ready = entry and inside[rank] and entry["Status"]["State"] == "ready"
        if entry and ours and ready and node["gpu"] in _offered(entry):
            found.add(node["name"])
    return found


def _inside(node: Mapping[str, Any], node_id: str) -> bool:
    """Whether a machine is that node by its own word: its manager learns of a leave seconds later. One
    that cannot be asked is for the manager to judge.
    """
    try:
        return bool(dial(node).info()["Swarm"]["NodeID"] == node_id)
    except (TrtSparkError, DockerException):
        return True
