"""Bringing the head's own ssh client along, for dynamic_providers/ssh_client.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import TrtSparkError
from remote import answers, node
from remote.node import deadline
from remote.node import ssh_client as program
from remote.ssh import Connection, Shell, SshShell

TIMEOUT_S = deadline.operators(deadline.LOCK_S, 2 * program.TIMEOUT_S)

Dial = Callable[[Connection], Shell]


def run(props: Mapping[str, Any], action: str, shell: Dial = SshShell) -> str:
    """`action`: bring, look or drop; the state of the folder then (remote/node/ssh_client.py)."""
    connection = Connection.from_props(props["connection"])
    order = {"ssh_client": {"action": action, "folder": props["folder"]}}
    result = shell(connection).run(
        node.command(order), stdin=node.program(ssh_client="main"), timeout=TIMEOUT_S
    )
    if result.code:
        raise TrtSparkError(f"{connection.host}: {answers.said(result)}")
    return str(answers.part(result, connection.host, "ssh_client")["state"])
