"""The answer of a program on a node, or one error with the node for whatever came in its place."""

from __future__ import annotations

from typing import Any

from cluster.errors import NodeError
from remote import node
from remote.ssh import Result

#: Of what came in place of an answer.
SHOWN_CHARS = 120
TODO = "Does ~/.bashrc there print, or end every command? Look, then run the same again."


def said(result: Result) -> str:
    """The last line of what a failed command said."""
    return (result.err.strip().splitlines() or [f"exit code {result.code}"])[-1]


def whole(result: Result, host: str) -> dict[str, Any]:
    """The JSON object. Raises NodeError: nothing, other text, or JSON that is cut off or without end."""
    try:
        return node.answer(result.out)
    except ValueError:
        raise _none(result, host) from None


def part(result: Result, host: str, module: str) -> Any:
    """What `module` answered. Raises likewise."""
    found = whole(result, host)
    if module not in found:  # a login may print JSON of its own
        raise _none(result, host)
    return found[module]


def _none(result: Result, host: str) -> NodeError:
    lines = (result.out.strip() or result.err.strip()).splitlines()
    last = lines[-1][:SHOWN_CHARS] if lines else f"exit code {result.code}, and no output"
    return NodeError(host, f"its program gave no answer that can be read ({last}).", TODO)
