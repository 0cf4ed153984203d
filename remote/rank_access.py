"""The forced command on a worker, over ssh, for dynamic_providers/rank_access.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import NodeError
from remote import answers, node
from remote.node import deadline
from remote.node import rank_access as program
from remote.ssh import Connection, Shell, SshShell

TIMEOUT_S = deadline.operators(deadline.LOCK_S, program.LONGEST_S)

Dial = Callable[[Connection], Shell]


def allow(props: Mapping[str, Any], shell: Dial = SshShell) -> None:
    """`props["key"]` may run `props["script"]` there, from `props["sources"]`; the key of a stack that is
    taken over may no longer. Raises NodeError, Unreachable among them.
    """
    if props["takeOver"]:
        revoke({**props, "stack": props["takeOver"]}, shell)
    _run(props, _order("allow", props), shell)


def revoke(props: Mapping[str, Any], shell: Dial = SshShell) -> None:
    """Undo `allow`; likewise."""
    _run(props, {"action": "revoke"}, shell)


def look(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, Any]:
    """{"key", "script"} of `props` as far as the worker has them, "" where it does not; likewise."""
    found = _run(props, _order("look", props), shell)
    return {key: found[key] for key in ("key", "script")}


def _order(action: str, props: Mapping[str, Any]) -> dict[str, Any]:
    sources = props.get("sources", "")  # the state of an older program has none
    return {"action": action, "key": props["key"], "sources": sources, "script": props["script"]}


def _run(props: Mapping[str, Any], order: Mapping[str, Any], shell: Dial) -> dict[str, Any]:
    connection = Connection.from_props(props["connection"])
    result = shell(connection).run(
        node.command({"rank_access": {**order, "stack": props["stack"]}}),
        stdin=node.program(rank_access="main"),
        timeout=TIMEOUT_S,
    )
    if result.code:
        said = answers.said(result)
        raise NodeError(connection.target, f"its authorized_keys: {said}", "Mend it, then `pulumi up`.")
    answer: dict[str, Any] = answers.part(result, connection.target, "rank_access")
    return answer
