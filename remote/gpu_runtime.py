"""Preparing a node's Docker for its GPU, over ssh, for dynamic_providers/gpu_runtime.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster import preparation
from cluster.errors import TrtSparkError, Unreachable
from cluster.parsing import parse
from remote import answers, node
from remote.node import deadline
from remote.node import gpu_runtime as program
from remote.ssh import Connection, Shell, SshShell

TIMEOUT_S = deadline.operators(deadline.LOCK_S, program.LONGEST_S)
PROBE_TIMEOUT_S = 45

Dial = Callable[[Connection], Shell]


def prepare(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, Any]:
    """Bring the node to `props`; what was done. A login with new groups is followed by a new one."""
    session = shell(Connection.from_props(props["connection"]))
    order = {
        "action": "apply",
        "gpu": props["gpu"],
        "group": bool(props["group"]),
        "stack": props["stack"],
        "take_over": props["takeOver"],
    }
    done = _run(session, props, order)
    if done["login"]:
        session.renew()
        done = _run(session, props, order)
    return done


def give_back(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, Any]:
    """Undo `prepare`; what was done, with "notes" where something could not be known."""
    session = shell(Connection.from_props(props["connection"]))
    done = _run(session, props, {"action": "restore", "stack": props["stack"]})
    if done["login"]:
        session.renew()
    return done


def look(props: Mapping[str, Any], shell: Dial = SshShell) -> dict[str, str]:
    """Each prepared thing as the node has it now."""
    connection = Connection.from_props(props["connection"])
    result = shell(connection).run(
        node.command({"probe": {}}), stdin=node.program(probe="look"), timeout=PROBE_TIMEOUT_S
    )
    try:
        document = node.answer(result.out)["probe"]
    except (ValueError, KeyError):
        raise Unreachable(
            connection.target,
            f"the probe failed: {answers.said(result)}.",
            "It needs python3 on the machine.",
        ) from None
    return preparation.found(parse(connection.host, document))


def _run(session: Shell, props: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    result = session.run(
        node.command({"gpu_runtime": dict(order)}), stdin=node.program(gpu_runtime="main"), timeout=TIMEOUT_S
    )
    if result.code:
        raise TrtSparkError(f"{props['connection']['host']}: {answers.said(result)}")
    answer: dict[str, Any] = answers.part(result, props["connection"]["host"], "gpu_runtime")
    return answer
