"""From the Swarm there is to the Swarm there should be: one function, used to compare and to change."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import NodeError

STACK_LABEL = "trtspark.stack"
RANK_LABEL = "trtspark.rank"
#: Of the Swarm that we make, or of the head's node in one that was there: what we did to the machines.
LEDGER_LABEL = "trtspark.ledger"
#: Of a machine's login what the ledger keeps; which private key opens it is the operator's.
LOGIN = frozenset({"host", "user", "port", "hostKey"})
#: In Docker's own words, on a node that was off for longer than its certificate lived.
EXPIRED = "certificate has expired"


@dataclass(frozen=True)
class Member:
    """A machine as its own engine describes it. `cluster` is known to managers only."""

    state: str
    node_id: str = ""
    manager: bool = False
    cluster: str = ""
    error: str = ""
    managers: tuple[str, ...] = ()
    """The addresses of the managers that it knows, without ports."""

    @property
    def expired(self) -> bool:
        """Whether it cannot take part because its certificate has run out."""
        return EXPIRED in self.error


@dataclass(frozen=True)
class Listed:
    """A node as the Swarm lists it."""

    labels: Mapping[str, str]


@dataclass(frozen=True)
class Ledger:
    """What `destroy` has to undo, kept by the Swarm itself so that a lost state loses nothing.

    By names of nodes: `joined`, the workers that we took in; `bare`, the machines that had no bridge of
    Docker's for a Swarm before; `logins`, how every machine of the stack is reached ({"host", "user", "port",
    "hostKey"}), for one that is no longer listed when the state is lost.
    """

    joined: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    logins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __or__(self, other: Ledger) -> Ledger:
        """What either says; of two logins the other's, which is newer."""
        return Ledger(self.joined | other.joined, self.bare | other.bare, {**self.logins, **other.logins})

    def without(self, names: Collection[str]) -> Ledger:
        """Of machines that are given back nothing is to be undone."""
        logins = {name: login for name, login in self.logins.items() if name not in names}
        return Ledger(self.joined.difference(names), self.bare.difference(names), logins)

    @property
    def names(self) -> set[str]:
        """All machines that it knows."""
        return {*self.joined, *self.bare, *self.logins}

    def text(self) -> str:
        """As a label's value."""
        parts = {"joined": sorted(self.joined), "bare": sorted(self.bare), "logins": self.logins}
        return json.dumps(parts, sort_keys=True)

    @staticmethod
    def parse(text: str | None) -> Ledger:
        """From a label's value; of what is torn, whatever can be understood."""
        return Ledger._read(text)[0]

    @staticmethod
    def is_torn(text: str | None) -> bool:
        """Whether a label's value does not say all that a ledger says; there is none where it is None."""
        return text is not None and not Ledger._read(text)[1]

    @staticmethod
    def _read(text: str | None) -> tuple[Ledger, bool]:
        try:
            found = json.loads(text or "{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            return Ledger(), False
        lists = [found.get("joined", []), found.get("bare", [])]
        sound = [isinstance(part, list) and all(isinstance(one, str) for one in part) for part in lists]
        joined, bare = (frozenset(part if right else ()) for part, right in zip(lists, sound, strict=True))
        logins = found.get("logins", {})
        known = logins.items() if isinstance(logins, dict) else ()
        logins_known = {name: one for name, one in known if isinstance(one, dict) and {*one} >= LOGIN}
        whole = all(sound) and logins_known == logins and (not text or "joined" in found)
        return Ledger(joined, bare, logins_known), whole


@dataclass(frozen=True)
class Init:
    """Make a Swarm on the head."""

    node: str


@dataclass(frozen=True)
class Join:
    """Take a worker in."""

    node: str


@dataclass(frozen=True)
class Label:
    """Write a node's labels; `node` is its name in the stack."""

    node: str
    rank: int


@dataclass(frozen=True)
class Unlabel:
    """Take our labels off a Swarm node that is no longer ours; `node_id` is its id."""

    node_id: str


@dataclass(frozen=True)
class Rejoin:
    """Have a worker leave; as one that is in no Swarm it is taken in again."""

    node: str


Step = Init | Join | Label | Unlabel


def renewals(nodes: Sequence[str], members: Mapping[str, Member], joined: set[str]) -> list[Rejoin]:
    """What must be done first where certificates have run out; [] where none have.

    `joined`: the workers that we took in; a worker keeps nothing of its own. Raises NodeError with the way
    out for any other, the manager too: what others have in its Swarm cannot be seen, and would be lost.
    """
    found = []
    for name in nodes:
        if not members[name].expired:
            continue
        if name == nodes[0] or name not in joined:
            raise NodeError(name, "its Swarm certificate has expired.", way_out(name == nodes[0]))
        found.append(Rejoin(name))
    return found


def forgotten(
    nodes: Sequence[str], head_address: str, members: Mapping[str, Member], listed: Mapping[str, Listed]
) -> list[Rejoin]:
    """Workers of a Swarm that is no more, or that has forgotten them: a dead worker was taken out, or the
    Swarm was ended while the worker had no power. The head can be in one Swarm only, so a worker that knows
    no other manager, and that the head does not list, is in none any more. Where Docker was started since, it
    is refused ("was removed from swarm") and says pending for ever.
    """
    return [
        Rejoin(name)
        for name in nodes[1:]
        if members[name].state in ("active", "pending")
        and not members[name].manager
        and members[name].node_id not in listed
        and set(members[name].managers) == {head_address}
    ]


def way_out(manager: bool) -> str:
    """What a person does about an expired certificate: docs/decisions/0016-expired-certificates.md.

    Docker refuses `swarm init --force-new-cluster` on a manager in this state.
    """
    leave = "Run there `docker swarm leave --force`"
    if manager:
        return f"{leave} (services and secrets of others in that Swarm are lost), then `pulumi up --refresh`."
    return f"{leave}; the next `up` takes the node in again."


def plan(
    stack: str,
    nodes: Sequence[str],
    members: Mapping[str, Member],
    listed: Mapping[str, Listed],
    take_over: str = "",
) -> list[Step]:
    """Steps to a Swarm of exactly `nodes` (head first) with our labels; [] when it is so already.

    `members` is each machine's own view, by name; `listed` the manager's view, by node id; `take_over` a
    stack whose machines may become this one's. Raises NodeError where a machine belongs to another Swarm or
    stack, or its membership is broken.
    """
    head = nodes[0]
    steps: list[Step] = []
    for name in nodes:
        _refuse_broken(name, members[name])
    if members[head].state == "inactive":
        steps.append(Init(head))
        listed = {}
    elif not members[head].manager:
        raise worker_elsewhere(head)
    for name in nodes[1:]:
        member = members[name]
        if member.state == "inactive":
            steps.append(Join(name))
        elif member.node_id not in listed:
            raise of_another_swarm(name, member.node_id, member.manager)
    ours = {}
    for rank, name in enumerate(nodes):
        wanted = {STACK_LABEL: stack, RANK_LABEL: str(rank)}
        node_id = members[name].node_id if members[name].state == "active" else ""
        ours[node_id] = name
        labels = listed[node_id].labels if node_id in listed else {}
        owner = labels.get(STACK_LABEL, stack)
        if owner not in (stack, take_over):
            raise NodeError(name, f"it belongs to stack {owner}.", other_stack(owner))
        if any(labels.get(key) != value for key, value in wanted.items()):
            steps.append(Label(name, rank))
    for node_id, entry in listed.items():
        if node_id not in ours and entry.labels.get(STACK_LABEL) in (stack, take_over or stack):
            steps.append(Unlabel(node_id))
    return steps


def worker_elsewhere(head: str) -> NodeError:
    """The head is a worker of a Swarm that is not this stack's."""
    return NodeError(
        head,
        "it is a worker of another Swarm.",
        "List that Swarm's manager first, or run there `docker swarm leave`.",
    )


def of_another_swarm(name: str, node_id: str, manager: bool) -> NodeError:
    """A worker of this stack is in another Swarm, perhaps as its manager."""
    if manager:
        return NodeError(
            name,
            f"it manages another Swarm (as node {node_id}).",
            "Take this machine out of nodes, or list it first; or run there `docker swarm leave --force`, "
            "which ends that Swarm if it has no other manager.",
        )
    return NodeError(
        name,
        f"it belongs to another Swarm (as node {node_id}).",
        "Leave it there with `docker swarm leave`, or take this machine out of nodes.",
    )


def astray(stack: str, ids: Mapping[str, str], listed: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Of `ids` (a node's id in its Swarm by its name, head first; "" in none) the names of those that are in
    no Swarm, or that the head's Swarm does not list with our labels: nothing of ours would start there.

    `listed`: the labels by id, as the look found them; empty where the head could not tell.
    """
    return [
        name
        for rank, (name, node_id) in enumerate(ids.items())
        if not node_id or (listed and not _labelled(stack, rank, listed.get(node_id) or {}))
    ]


def _labelled(stack: str, rank: int, labels: Mapping[str, str]) -> bool:
    return labels.get(STACK_LABEL) == stack and labels.get(RANK_LABEL) == str(rank)


def other_stack(owner: str) -> str:
    """What a person does about a machine of another stack."""
    return (
        f"A machine belongs to one stack at a time: run `pulumi destroy --stack {owner}`, or take the "
        f"machine out of nodes. If stack {owner} was renamed or its state is lost: "
        f"`pulumi config set takeOver {owner}`."
    )


def _refuse_broken(name: str, member: Member) -> None:
    if member.state in ("inactive", "active"):
        return
    if member.state == "locked":
        raise NodeError(name, "its Swarm is locked.", "Run there `docker swarm unlock`.")
    said = f": Docker says {member.error!r}" if member.error else ""
    raise NodeError(
        name,
        f"its Swarm membership is in state {member.state!r}{said}.",
        "Look at `docker info` there; `docker swarm leave --force` ends a membership that cannot heal.",
    )
