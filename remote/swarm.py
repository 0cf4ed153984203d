"""Making, joining and leaving a Swarm by the engines' API, for dynamic_providers/swarm.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from docker.errors import APIError, DockerException

from cluster.errors import NodeError, NotReady, TrtSparkError, Unreachable
from cluster.service_spec import GPU_KIND, service_name
from cluster.swarm_plan import (
    LEDGER_LABEL,
    LOGIN,
    RANK_LABEL,
    STACK_LABEL,
    Init,
    Join,
    Label,
    Ledger,
    Listed,
    Member,
    Unlabel,
    forgotten,
    plan,
    renewals,
)
from remote import leftovers
from remote.leftovers import remove_objects
from remote.services import pause
from remote.swarm_books import machines, made_for, note, of_state, of_swarm
from remote.swarm_end import GivenUp, give_back
from remote.swarm_nodes import dial, forget, label, leave, parallel, unlabel, without_bridge

#: Node certificates are renewed while a node runs; ten years bear a pair that was off for months.
CERT_EXPIRY_NS = 10 * 365 * 24 * 3600 * 1_000_000_000
RESOURCE_DEADLINE_S = 60
JOIN_DEADLINE_S = 60
POLL_S = 0.05
SWARM_PORT = 2377


def _strict(_host: str) -> AbstractContextManager[Callable[[object], None]]:
    """Give no machine up, and tell nobody."""
    return nullcontext(lambda _done: None)


def ensure(
    props: Mapping[str, Any],
    olds: Mapping[str, Any],
    given_up: GivenUp = _strict,
    back: Collection[str] = (),
) -> dict[str, Any]:
    """Bring the Swarm to `props`. The outputs and the Swarm's own ledger say what we made, so that delete
    undoes only that, also after a lost state.

    A machine that only the ledger knows was left out by a run without a state: it is given back. `back` are
    those that were before this.
    """
    nodes: Sequence[Mapping[str, Any]] = props["nodes"]
    names = [node["name"] for node in nodes]
    clients = dict(zip(names, parallel(dial, nodes), strict=True))
    by_name = {node["name"]: node for node in nodes}
    head = names[0]
    made = bool(olds.get("made"))
    members = _settled(clients, head)
    noted = of_swarm(clients[head], members[head])
    ledger = (of_state(olds) | noted).without(back)
    if renewed := renewals(names, members, set(ledger.joined)):
        for gone in renewed:
            leave(by_name[gone.node], ledger.bare)
            if members[head].manager:
                forget(by_name[head], (olds.get("nodeIds") or {}).get(gone.node, ""))
        members = _members(clients)
    listed = _listed(clients[head], members[head])
    if stale := forgotten(names, by_name[head]["address"], members, listed):
        for gone in stale:
            leave(by_name[gone.node], ledger.bare)
        members = _members(clients)
    if members[head].manager and made_for(clients[head], props["stack"]):
        # An earlier run was killed, or its state is lost: destroy has to end what we made all the same.
        made = True
        ledger |= Ledger(frozenset(name for name in names[1:] if members[name].state == "active"))
    old = props.get("takeOver") or ""
    strays = ledger.names - {*names} - {node["name"] for node in machines(olds)}
    if members[head].manager:
        if strays:
            pause(clients[head], {"name": service_name(props["stack"], 0), "node": nodes[0]["connection"]})
        remove_objects(clients[head], props["stack"], len(names))
    ledger = ledger.without(give_back(strays, ledger, nodes[0], {props["stack"], old} - {""}, given_up))
    if members[head].manager and not noted.logins:
        # The ledger is an earlier version's, or somebody removed it.
        ids = {*(member.node_id for member in members.values()), *(olds.get("nodeIds") or {}).values()}
        unknowns = _unknown(clients[head], {props["stack"], old}, ids)
        for unknown in (one for one in unknowns if one not in strays):
            with given_up(unknown):
                raise Unreachable(unknown, "no login of it is known.", "List it again.")
    if strays:
        listed = _listed(clients[head], members[head])
    steps = plan(props["stack"], names, members, listed, old)
    if old and members[head].manager:
        made = _take_over(clients[head], old, props["stack"]) or made
    if old:
        parallel(lambda node: leftovers.take_over(node, old), nodes)
    joins = [step.node for step in steps if isinstance(step, Join)]
    rejoined = set(joins) & ledger.joined
    bare = {s.node for s in steps if isinstance(s, Init | Join) and without_bridge(clients[s.node])}
    logins = {name: {key: by_name[name]["connection"][key] for key in LOGIN} for name in names}
    ledger |= Ledger(frozenset(joins), frozenset(bare), logins)
    if any(isinstance(step, Init) for step in steps):
        _init(clients[head], by_name[head], props["stack"], ledger)
        made = True
    elif ledger != noted and not made:
        label(clients[head], members[head].node_id, {LEDGER_LABEL: ledger.text()})
    elif ledger != noted:
        note(clients[head], ledger)
    if joins:
        token = clients[head].inspect_swarm()["JoinTokens"]["Worker"]
        manager = clients[head].info()["Swarm"]["NodeAddr"]
        parallel(lambda name: _join(clients[name], by_name[name], manager, token), joins)
        for name in rejoined:
            # It left by hand: what it was in the Swarm before is listed as down for ever.
            forget(by_name[head], (olds.get("nodeIds") or {}).get(name, ""))
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
        "joined": sorted(ledger.joined & {*names, *ledger.logins}),
        "bare": sorted(ledger.bare & {*names, *ledger.logins}),
        "nodeIds": {name: members[name].node_id for name in names},
        "strays": {name: login for name, login in ledger.logins.items() if name not in names},
    }


def _unknown(client: Any, stacks: Collection[str], ids: Collection[str]) -> list[str]:
    """Host names of the Swarm's live nodes that have our labels, and of which only those tell."""
    return [
        str(entry["Description"]["Hostname"])
        for entry in client.nodes()
        if entry["ID"] not in ids
        and entry["Status"]["State"] == "ready"
        and ((entry["Spec"].get("Labels") or {}).get(STACK_LABEL) or "-") in stacks
    ]


def _take_over(client: Any, old: str, stack: str) -> bool:
    """End what stack `old` runs in the Swarm, whose machines become `stack`'s; whether `old` had made the
    Swarm, which then is ours to end.
    """
    remove_objects(client, old)
    if not made_for(client, old):
        return False
    found = client.inspect_swarm()
    labels = {**found["Spec"]["Labels"], STACK_LABEL: stack}
    client.update_swarm(found["Version"]["Index"], swarm_spec={**found["Spec"], "Labels": labels})
    return True


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


def _init(client: Any, node: Mapping[str, Any], stack: str, ledger: Ledger) -> None:
    address = node["address"]
    labels = {STACK_LABEL: stack, LEDGER_LABEL: ledger.text()}
    spec = client.create_swarm_spec(node_cert_expiry=CERT_EXPIRY_NS, labels=labels)
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
