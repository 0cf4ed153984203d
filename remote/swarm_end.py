"""Undoing what remote/swarm.py did: machines that leave the Swarm, and its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from docker.errors import DockerException

from cluster.errors import NodeError, TrtSparkError, Unreachable
from cluster.service_spec import service_name
from cluster.swarm_plan import STACK_LABEL, Ledger, Member
from remote import leftovers
from remote.leftovers import remove_objects
from remote.services import pause
from remote.swarm_books import machines, made_for, of_state, of_swarm, torn
from remote.swarm_nodes import dial, forget, leave, parallel, unlabel

#: For undoing something on the machine of that name: whether one that cannot be reached may be given up, and
#: who is told what could not be known there (dynamic_providers/base.py).
GivenUp = Callable[[str], AbstractContextManager[Callable[[object], None]]]
TORN = (
    "the Swarm's note of what was done to its machines was torn: one that is in neither `nodes` nor Pulumi's "
    "state keeps what is there of ours. Listed again, the next `pulumi up` finds it."
)


def let_go(
    gone: Sequence[Mapping[str, Any]], olds: Mapping[str, Any], head: Mapping[str, Any], given_up: GivenUp
) -> set[str]:
    """Nodes that are no longer listed leave, if it was we who took them in, and lose what runs there; a dead
    one is forgotten. The names of those that are rid of us.
    """
    done = set()
    if gone:
        _pause_server(olds, head)
    for node in gone:
        with given_up(node["name"]):
            if node["name"] in (olds.get("joined") or []):
                leave(node, olds.get("bare") or [])
            leftovers.clear(node, olds["stack"])
            done.add(node["name"])
        if node["name"] in (olds.get("joined") or []):
            forget(head, (olds.get("nodeIds") or {}).get(node["name"], ""))
    return done


def _pause_server(olds: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Drain and stop rank 0, which nodes are about to leave: it is started again without them."""
    client = dial(head)
    if client.info()["Swarm"].get("ControlAvailable"):
        pause(client, {"name": service_name(olds["stack"], 0), "node": head["connection"]})


def dissolve(props: Mapping[str, Any], given_up: GivenUp) -> dict[str, Any]:
    """Undo `ensure`. A Swarm with services of others is left to them, without our nodes' labels.
    {"notes": what could not be known}.
    """

    def away(node: Mapping[str, Any]) -> None:
        with given_up(node["name"]):
            leave(node, bare)

    nodes = machines(props)
    head = nodes[0]
    try:
        client = dial(head)
        about = client.info()["Swarm"]
        if not about.get("ControlAvailable"):
            _dissolve_without_manager(props, about, given_up)
            return {"notes": []}
    except (TrtSparkError, DockerException) as error:
        raise NodeError(
            head["name"],
            f"the Swarm's manager cannot be reached ({error}).",
            "Bring it back, or forget the Swarm with `pulumi state delete`.",
        ) from None
    made = props.get("made") or made_for(client, props["stack"])
    member = Member("active", about["NodeID"], manager=True)
    noted, notes = of_swarm(client, member), [TORN] if torn(client, member) else []
    ledger = noted | of_state(props)
    joined, bare = [node for node in nodes[1:] if node["name"] in ledger.joined], ledger.bare
    foreign = [
        s["Spec"]["Name"]
        for s in client.services()
        if s["Spec"].get("Labels", {}).get(STACK_LABEL) != props["stack"]
    ]
    listed = {entry["ID"]: (entry["Spec"].get("Labels") or {}) for entry in client.nodes()}
    known = props.get("nodeIds", {})
    ids = {node["name"]: _node_id(node) or known.get(node["name"], "") for node in joined}
    remove_objects(client, props["stack"])
    strays = ledger.names - {node["name"] for node in nodes}
    give_back(strays, ledger, head, [props["stack"]], given_up, leaving=not foreign)
    # A worker that is in another Swarm by now is not ours to take out of it.
    leaving = [] if foreign else [node for node in joined if ids[node["name"]] in ("", *listed)]
    if made and not foreign:
        parallel(away, leaving)
        leave(head, bare)
        _clear_all(props, given_up)
        return {"notes": notes}
    ours = {one for one, labels in listed.items() if labels.get(STACK_LABEL) == props["stack"]}
    for node_id in ours | set(known.values()):
        unlabel(client, node_id)
    for node in leaving:
        away(node)
        forget(head, ids[node["name"]])
    _clear_all(props, given_up)
    return {"notes": notes}


def _clear_all(props: Mapping[str, Any], given_up: GivenUp) -> None:
    """Remove what a run that was killed has started on our machines, and no resource stands for."""

    def one(node: Mapping[str, Any]) -> None:
        with given_up(node["name"]):
            leftovers.clear(node, props["stack"])

    parallel(one, machines(props))


def _dissolve_without_manager(props: Mapping[str, Any], about: Mapping[str, Any], given_up: GivenUp) -> None:
    """The rest of a Swarm that the head left by hand: workers that know no other manager leave, too, and
    Docker's bridges go. `about` is the head's own view of its membership; one in another Swarm stays there.
    """
    head, *workers = machines(props)
    bare = props.get("bare") or []
    joined = [node for node in workers if node["name"] in (props.get("joined") or [])]

    def away(node: Mapping[str, Any]) -> None:
        with given_up(node["name"]):
            _leave_lost_swarm(node, head, bare)

    parallel(away, joined)
    if about["LocalNodeState"] == "inactive":
        leave(head, bare)
    ledger = of_state(props)
    strays = ledger.names - {node["name"] for node in machines(props)}
    give_back(strays, ledger, head, [props["stack"]], given_up)
    _clear_all(props, given_up)


def give_back(
    strays: Collection[str],
    ledger: Ledger,
    head: Mapping[str, Any],
    stacks: Collection[str],
    given_up: GivenUp,
    leaving: bool = True,
) -> set[str]:
    """Undo everything of these stacks on machines that only the ledger knows; which could be.

    `leaving`: whether those that we took in leave the head's Swarm.
    """
    done = set()
    for name in sorted(strays):
        with given_up(name) as tell:
            if name not in ledger.logins:
                raise Unreachable(name, "an earlier version took it in, and left no login.", "List it again.")
            login = {**ledger.logins[name], "identity": head["connection"].get("identity", "")}
            node = {"name": name, "address": name, "connection": login}
            if leaving and name in ledger.joined:
                _out(node, head, ledger.bare)
            for stack in sorted(stacks):
                tell(leftovers.give_back(node, stack))
            done.add(name)
    return done


def _out(node: Mapping[str, Any], head: Mapping[str, Any], bare: Collection[str]) -> None:
    """Have a machine leave the head's Swarm, and the Swarm forget it; one in another Swarm stays there."""
    node_id = str(dial(node).info()["Swarm"]["NodeID"])
    client = dial(head)
    manager = client.info()["Swarm"].get("ControlAvailable")
    if manager and node_id in {entry["ID"] for entry in client.nodes()}:
        leave(node, bare)
        forget(head, node_id)
    else:
        _leave_lost_swarm(node, head, bare)


def _leave_lost_swarm(node: Mapping[str, Any], head: Mapping[str, Any], bare: Collection[str]) -> None:
    about = dial(node).info()["Swarm"]
    managers = {one["Addr"].rpartition(":")[0] for one in about.get("RemoteManagers") or []}
    if about["LocalNodeState"] == "inactive" or managers == {head["address"]}:
        leave(node, bare)


def _node_id(node: Mapping[str, Any]) -> str:
    """A machine's id in its Swarm by its own word; "" where it cannot be asked or is in none."""
    try:
        return str(dial(node).info()["Swarm"]["NodeID"])
    except (TrtSparkError, DockerException):
        return ""
