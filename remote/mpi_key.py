"""The MPI key on the head, over ssh, for dynamic_providers/mpi_key.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import NodeError
from remote import answers, node
from remote.node import deadline
from remote.node import mpi_key as program
from remote.ssh import Connection, Shell, SshShell

#: Three commands of Docker's, and ssh-keygen.
TIMEOUT_S = deadline.operators(4 * program.TIMEOUT_S)

Dial = Callable[[Connection], Shell]


def make(props: Mapping[str, Any], shell: Dial = SshShell) -> str:
    """The public half of the Swarm's key, which is made where there is none. Raises NodeError."""
    return _run(props, "make", shell)


def look(props: Mapping[str, Any], shell: Dial = SshShell) -> str:
    """The public half of the Swarm's key; "" where the Swarm, or this node, has none."""
    return _run(props, "look", shell)


def drop(props: Mapping[str, Any], shell: Dial = SshShell) -> None:
    """Remove the secret; Docker keeps one that a service uses."""
    _run(props, "drop", shell)


def _run(props: Mapping[str, Any], action: str, shell: Dial) -> str:
    connection = Connection.from_props(props["manager"])
    order = {"action": action, "name": props["name"], "stack": props["stack"]}
    result = shell(connection).run(
        node.command({"mpi_key": order}), stdin=node.program(mpi_key="main"), timeout=TIMEOUT_S
    )
    if result.code:
        raise NodeError(connection.target, f"the MPI key: {answers.said(result)}", "Then run the same again.")
    return str(answers.part(result, connection.target, "mpi_key")["public"])
