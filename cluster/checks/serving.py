"""Checks of what the server needs on the head."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check

#: Addresses of a listener that keep us from binding the head's own address.
_ANY = ("0.0.0.0", "::")


@check(
    "serving.port",
    "The API's port is free on the head, or ours.",
    "Stop the other program, or choose another port: `pulumi config set port …`.",
)
def port(context: Context) -> Iterator[Finding]:
    """A listener that is not our own rank 0."""
    if not context.settings.running:
        return
    head, number = context.nodes[0], context.settings.port
    stacks = (context.stack, context.settings.take_over)
    ours = any(rank[0] in stacks and rank[1:] == ("0", str(number)) for rank in head.ranks)
    taken = any(
        found == number and (address in _ANY or address == str(head.address))
        for address, found in head.listening
    )
    if ours or not taken or head.docker.problem:
        return  # with a Docker that does not answer, ours cannot be told from others'
    if any(rank[2] == str(number) for rank in head.ranks):
        return  # another stack's: the check of the machine's owner says so
    yield Finding(
        "FAIL",
        head.node,
        f"port {number} is in use by another program.",
        f"Stop it (`sudo ss -ltnp 'sport = :{number}'` names it), or choose another: "
        f"`pulumi config set port {number + 1}`.",
    )
