"""The cap on a GPU's clock, over ssh, for dynamic_providers/gpu_clock.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import TrtSparkError
from remote import answers, node
from remote.node import deadline
from remote.node import gpu_clock as program
from remote.ssh import Connection, Shell, SshShell

TIMEOUT_S = deadline.operators(deadline.LOCK_S, program.LONGEST_S)

Dial = Callable[[Connection], Shell]


def cap(props: Mapping[str, Any], shell: Dial = SshShell) -> bool:
    """Bring the node to `props`; whether anything was changed."""
    order = {
        "action": "apply",
        "limit": int(props["limit"]),
        "stack": props["stack"],
        "take_over": props["takeOver"],
    }
    return bool(_run(props, order, shell)["changed"])


def give_back(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, Any]:
    """Undo `cap`; what was done, with "notes" where something could not be known."""
    return _run(props, {"action": "restore", "stack": props["stack"]}, shell)


def look(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, str]:
    """The unit and what speaks for its being in force, as the node has them."""
    return {str(key): str(value) for key, value in _run(props, {"action": "read"}, shell).items()}


def _run(props: Mapping[str, Any], order: Mapping[str, Any], shell: Dial) -> dict[str, Any]:
    session = shell(Connection.from_props(props["connection"]))
    result = session.run(
        node.command({"gpu_clock": dict(order)}), stdin=node.program(gpu_clock="main"), timeout=TIMEOUT_S
    )
    if result.code:
        raise TrtSparkError(f"{props['connection']['host']}: {answers.said(result)}")
    answer: dict[str, Any] = answers.part(result, props["connection"]["host"], "gpu_clock")
    return answer
