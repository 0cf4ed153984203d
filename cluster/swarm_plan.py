"""From the Swarm there is to the Swarm there should be: one function, used to compare and to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.errors import NodeError

STACK_LABEL = "trtspark.stack"
RANK_LABEL = "trtspark.rank"


@dataclass(frozen=True)
class Member:
    """A machine as its own engine describes it. `cluster` is known to managers only."""

    state: str
    node_id: str = ""
    manager: bool = False
    cluster: str = ""


@dataclass(frozen=True)
class Listed:
    """A node as the Swarm lists it."""

    labels: Mapping[str, str]


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


Step = Init | Join | Label | Unlabel


def plan(
    stack: str,
    nodes: Sequence[str],
    members: Mapping[str, Member],
    listed: Mapping[str, Listed],
) -> list[Step]:
    """Steps to a Swarm of exactly `nodes` (head first) with our labels; [] when it is so already.

    `members` is each machine's own view, by name; `listed` the manager's view, by node id. Raises
    NodeError where a machine belongs to another Swarm or its membership is broken.
    """
    head = nodes[0]
    steps: list[Step] = []
    for name in nodes:
        _refuse_broken(name, members[name])
    if members[head].state == "inactive":
        steps.append(Init(head))
        listed = {}
    elif not members[head].manager:
        raise NodeError(
            head,
            "it is a worker of another Swarm.",
            "List that Swarm's manager first, or run there `docker swarm leave`.",
        )
    for name in nodes[1:]:
        member = members[name]
        if member.state == "inactive":
            steps.append(Join(name))
        elif member.node_id not in listed:
            raise NodeError(
                name,
                f"it belongs to another Swarm (as node {member.node_id}).",
                "Leave it there with `docker swarm leave`, or take this machine out of nodes.",
            )
    ours = {}
    for rank, name in enumerate(nodes):
        wanted = {STACK_LABEL: stack, RANK_LABEL: str(rank)}
        node_id = members[name].node_id if members[name].state == "active" else ""
        ours[node_id] = name
        labels = listed[node_id].labels if node_id in listed else {}
        owner = labels.get(STACK_LABEL, stack)
        if owner != stack:
            raise NodeError(
                name,
                f"it serves stack {owner} already.",
                f"Take it out of that stack's nodes, or end it there: `pulumi destroy --stack {owner}`.",
            )
        if any(labels.get(key) != value for key, value in wanted.items()):
            steps.append(Label(name, rank))
    for node_id, entry in listed.items():
        if node_id not in ours and entry.labels.get(STACK_LABEL) == stack:
            steps.append(Unlabel(node_id))
    return steps


def _refuse_broken(name: str, member: Member) -> None:
    if member.state in ("inactive", "active"):
        return
    if member.state == "locked":
        raise NodeError(name, "its Swarm is locked.", "Run there `docker swarm unlock`.")
    raise NodeError(
        name,
        f"its Swarm membership is in state {member.state!r}.",
        "Look at `docker info` there; `docker swarm leave --force` ends a membership that cannot heal.",
    )
