"""Checks of the Swarm that a node is in."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.swarm_plan import EXPIRED, way_out

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
