"""Running a node program on all nodes at once, for the commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.errors import NodeError, TrtSparkError
from remote import answers, node
from remote.ssh import Connection, Shell, SshShell

TIMEOUT_S = 60


def every(
    connections: Sequence[Connection],
    module: str,
    entry: str,
    args: Mapping[str, Any],
    shell: Callable[[Connection], Shell] = SshShell,
) -> list[dict[str, Any] | TrtSparkError]:
    """`module.entry(args)` (remote/node) on every node: its answer, or why there is none."""
    script, command = node.program(**{module: entry}), node.command({module: dict(args)})

    def one(connection: Connection) -> dict[str, Any] | TrtSparkError:
        try:
            result = shell(connection).run(command, stdin=script, timeout=TIMEOUT_S)
        except TrtSparkError as error:
            return error
        if result.code:
            said = answers.said(result).rstrip(".")
            return NodeError(connection.host, f"{said}.", "Nothing else was done there.")
        try:
            found: dict[str, Any] = answers.part(result, connection.host, module)
        except NodeError as error:
            return error
        return found

    with ThreadPoolExecutor(max(1, len(connections))) as pool:
        return list(pool.map(one, connections))
