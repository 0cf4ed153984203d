"""Calls to the programs on the nodes that begin, watch and end detached work (remote/node/detached.py)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.errors import NodeError
from remote import answers, node
from remote.ssh import Shell

CALL_TIMEOUT_S = 60
#: A node that says nothing for so long has lost its power or its network.
SILENCE_S = 60.0
#: The status, at once when the work has ended, else after a second: one login's command a second, as each
#: costs the operator and the node more processor time than the wait.
_STATUS = (
    "cd {} 2>/dev/null || exit 1; i=0; "
    'while [ $i -lt 10 ] && {{ [ ! -e status.json ] || grep -q \'"state": "running"\' status.json; }}; '
    "do sleep 0.1; i=$((i+1)); done; cat status.json"
)


def status_command(folder: str) -> str:
    """The command that prints the job's status.json in `folder`, a word of the node's shell."""
    return f"sh -c {shlex.quote(_STATUS.format(folder))}"


def call(
    shell: Shell, host: str, modules: Sequence[str], entry: str, args: Mapping[str, Any], todo: str
) -> dict[str, Any]:
    """`entry(args)` of the last of `modules` on a node. Raises NodeError with its sentence and `todo`."""
    result = shell.run(node.BUNDLE_COMMAND, stdin=node.bundle(modules, entry, args), timeout=CALL_TIMEOUT_S)
    if result.code:
        said = answers.said(result)
        raise NodeError(host, f"{said.rstrip('.')}.", todo)
    return answers.whole(result, host)
