"""Checks of the Swarm that a node is in."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.errors import NodeError
from cluster.facts import Facts
from cluster.swarm_plan import (
    EXPIRED,
    Listed,
    Member,
    forgotten,
    of_another_swarm,
    other_stack,
    plan,
    way_out,
    worker_elsewhere,
)

#: Docker's own is 90 days; a Swarm that we make has ten years.
SHORT_DAYS = 365
LONGER = "docker swarm update --cert-expiry 87600h"


@check(
    "swarm.certificates",
    "The Swarm's certificates outlive a year in which the machines are off.",
    f"`{LONGER}` on its manager.",
    "WARN",
    alone=True,
)
def certificates(context: Context) -> Iterator[Finding]:
    """A running node renews its own; one that was off for 18 to 90 days may come back with an old one."""
    for facts in context.nodes:
        days = facts.docker.swarm.certificate_days
        if days is not None and days < SHORT_DAYS:
            yield Finding(
                "WARN",
                facts.node,
                f"its Swarm's certificates are good for {days:.0f} days: machines that are off for months "
                "come back without a Swarm.",
                f"Run there `{LONGER}`.",
            )


@check(
    "swarm.expired",
    "The node's Swarm certificate has not expired.",
    "`docker swarm leave --force` there; `up` does it on a worker that this stack took in.",
    "FAIL",
    "WARN",
    alone=True,
)
def expired(context: Context) -> Iterator[Finding]:
    """After months without power. Only the state tells who took a worker in, so for one `up` decides."""
    for facts in context.nodes:
        if EXPIRED not in facts.docker.swarm.error:
            continue
        head = facts.node == context.settings.nodes[0].host
        todo = way_out(manager=head)
        if not head:
            todo = f"`up` has it leave and join again if this stack took it in; else: {todo}"
        yield Finding("FAIL" if head else "WARN", facts.node, "its Swarm certificate has expired.", todo)


@check(
    "swarm.address",
    "The machine still has the address at which its Swarm knows it.",
    "Give it that address again (a fixed lease in the router), or leave the Swarm: "
    "`docker swarm leave --force`.",
    "FAIL",
    "WARN",
    alone=True,
)
def address(context: Context) -> Iterator[Finding]:
    """DHCP gave it another one. Without its manager's address a Swarm does not come up; a worker's is only
    for overlay networks, of which the ranks use none.
    """
    for facts in context.nodes:
        swarm = facts.docker.swarm
        if not moved(facts):
            continue
        said = f" Docker says: {swarm.error!r}." if swarm.error else ""
        broken = swarm.manager or swarm.state != "active" or facts.node == context.settings.nodes[0].host
        yield Finding(
            "FAIL" if broken else "WARN",
            facts.node,
            f"its Swarm knows it at {swarm.address}, which it no longer has (ssh reached it at "
            f"{facts.address}).{said}",
            f"Give it {swarm.address} again (a fixed lease in the router). Or give that Swarm up. "
            + way_out(manager=facts.node == context.settings.nodes[0].host),
        )


def moved(facts: Facts) -> bool:
    """Whether the machine has lost the address that its Swarm knows. Of IPv6 the facts have no list."""
    swarm = facts.docker.swarm
    here = {str(one.ip) for own in facts.interfaces.values() for one in own}
    known = swarm.state != "inactive" and "." in swarm.address and EXPIRED not in swarm.error
    return bool(known and here and swarm.address not in here)


@check(
    "swarm.membership",
    "Every machine is in no Swarm, or in this stack's: not in another one, and not another stack's.",
    "Take the machine out of the other Swarm or stack, or out of nodes.",
)
def membership(context: Context) -> Iterator[Finding]:
    """The plan that `up` would make of the Swarm, on what the probe found of it.

    What only `up` can tell counts as outside of any Swarm: a machine whose certificate has expired, or whose
    Docker is still looking for its manager, where that is the head.
    """
    if any(facts.docker.problem for facts in context.nodes) or moved(context.nodes[0]):
        return
    names = [facts.node for facts in context.nodes]
    members = {facts.node: _member(facts) for facts in context.nodes}
    head = context.nodes[0]
    listed = {node: Listed(labels) for node, labels in head.swarm_nodes.items()}
    if head.docker.swarm.state == "active" and not head.docker.swarm.manager:
        known = head.docker.swarm.managers
        manager = next(
            (
                one
                for one in context.nodes[1:]
                if one.docker.swarm.manager and (not known or str(one.address) in known)
            ),
            None,
        )
        if manager is not None:
            yield Finding(
                "FAIL",
                head.node,
                f"it is listed first, but {manager.node} manages the Swarm that it is in.",
                f"List {manager.node} first as before, or run `pulumi destroy` with that order before you "
                "change it.",
            )
            return
    foreign = [facts for facts in context.nodes if _elsewhere(facts, head)]
    for facts in foreign:
        error = of_another_swarm(facts.node, facts.docker.swarm.node_id, facts.docker.swarm.manager)
        if facts is head:
            error = worker_elsewhere(head.node)
        yield Finding("FAIL", error.node, error.found, error.todo)
    if foreign:
        return
    for gone in forgotten(names, str(head.address), members, listed):
        members[gone.node] = Member("inactive")
    try:
        plan(context.stack, names, members, listed, context.settings.take_over or "")
    except NodeError as error:
        yield Finding("FAIL", error.node, error.found, error.todo)


@check(
    "machine.owner",
    "No other stack has prepared or serves from the machine.",
    "`pulumi destroy` the other stack, or take it over: `pulumi config set takeOver …`.",
    alone=True,
)
def owner(context: Context) -> Iterator[Finding]:
    """By our record on the machine, and by the containers of ranks that run there."""
    mine = ("", context.stack, context.settings.take_over)
    for facts in context.nodes:
        others = [one for one in (facts.owner, *(rank[0] for rank in facts.ranks)) if one not in mine]
        if others:
            yield Finding("FAIL", facts.node, f"it belongs to stack {others[0]}.", other_stack(others[0]))


def _elsewhere(facts: Facts, head: Facts) -> bool:
    """Whether a machine is in a Swarm that the head does not manage, by the managers it knows."""
    swarm = facts.docker.swarm
    if swarm.state == "inactive" or not swarm.managers or swarm.node_id in head.swarm_nodes or moved(facts):
        return False
    return not {str(head.address), head.docker.swarm.address} & set(swarm.managers)


def _member(facts: Facts) -> Member:
    swarm = facts.docker.swarm
    if swarm.state == "pending" or EXPIRED in swarm.error or (moved(facts) and swarm.state != "active"):
        return Member("inactive")
    return Member(swarm.state, swarm.node_id, swarm.manager, error=swarm.error, managers=swarm.managers)
