"""Checks of what the server needs on the head."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from cluster.checks.table import Context, Finding, check
from cluster.config import DEFAULT_PORT
from cluster.facts import Facts

#: Addresses of a listener that keep us from binding the head's own address.
_ANY = ("0.0.0.0", "::")
#: Ports that Docker binds on a Swarm's nodes; the data path's is UDP, and still no place for an API.
SWARM_PORTS = {
    2377: "Swarm's manager listens there",
    7946: "Swarm's nodes find each other by it",
    4789: "Swarm's overlay networks use it",
}
#: Below this, a number is a well-known service's.
_FIRST_USER_PORT = 1024


@check(
    "serving.port",
    "The API's port is free on the head, or ours; it is neither Swarm's nor sshd's.",
    "Stop the other program, or choose another port: `pulumi config set port …`.",
)
def port(context: Context) -> Iterator[Finding]:
    """A listener that is not our own rank 0, or one that the launch itself brings up."""
    if not context.settings.running:
        return
    head, number = context.nodes[0], context.settings.port
    choose = f"`pulumi config set port {_next_free(head, number)}`"
    if use := _reserved(head, number):
        yield Finding("FAIL", head.node, f"the API cannot have port {number}: {use}.", f"Run {choose}.")
        return
    stacks = (context.stack, context.settings.take_over)
    ours = any(rank[0] in stacks and rank[1:] == ("0", str(number)) for rank in head.ranks)
    if ours or not _listened(head, number) or head.docker.problem:
        return  # with a Docker that does not answer, ours cannot be told from others'
    if any(rank[2] == str(number) for rank in head.ranks):
        return  # another stack's: the check of the machine's owner says so
    yield Finding(
        "FAIL",
        head.node,
        f"port {number} is in use by another program.",
        f"Stop it (`sudo ss -ltnp 'sport = :{number}'` names it), or choose another: {choose}.",
    )


def _reserved(head: Facts, number: int) -> str:
    """What else of a deployment needs the port on the head, whether it listens yet or not; "" for nothing."""
    if number in SWARM_PORTS:
        return SWARM_PORTS[number]
    # Where the login is forwarded, this is the machine's own port and not the configured one.
    if number in (22, head.ssh_port):
        return "it is sshd's, by which the ranks start"
    return ""


def _listened(head: Facts, number: int) -> bool:
    mine = (*_ANY, str(head.address))
    return any(
        found == number and address.removeprefix("::ffff:") in mine for address, found in head.listening
    )


def _next_free(head: Facts, number: int) -> int:
    """The next port that this check would not refuse; the usual one in place of a well-known service's."""
    first = number + 1 if number >= _FIRST_USER_PORT else DEFAULT_PORT
    candidates = chain(range(first, 65536), range(DEFAULT_PORT, 65536))
    return next(one for one in candidates if not _reserved(head, one) and not _listened(head, one))
