"""The sudo rules for the nodes: shown as a block to paste, or installed with the password typed into sudo."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from cluster import sudoers
from cluster.config import Settings
from cluster.errors import NodeError
from remote.ssh import Connection, SshShell, options

#: The check that finds them missing (cluster/checks/docker.py).
MISSING = "docker.sudo"


def rules(user: str, settings: Settings | None) -> list[str]:
    """The rules for one user, with those that the stack's configuration needs."""
    found = sudoers.lines(user)
    if settings is not None and settings.fabric == "configure":
        found += sudoers.fabric_lines(user)
    if settings is not None and settings.gpu_clock_limit:
        found += sudoers.clock_lines(user)
    return found


def text(names: Sequence[str], settings: Settings | None) -> str:
    """The block to paste on every node, for all of its users."""
    return sudoers.paste_block([line for name in names for line in rules(name, settings)])


def install(connection: Connection, settings: Settings | None) -> None:
    """Put the rules on a node. sudo itself asks for the password on the terminal: it goes nowhere else.

    visudo checks the rules before they get their place, and the file appears there whole or not at all.
    Raises NodeError or Unreachable.
    """
    shell = SshShell(connection)
    body = "\n".join(rules(connection.user, settings)) + "\n"
    made = shell.run('umask 077; f=$(mktemp) && cat >"$f" && echo "$f"', stdin=body)
    path = (made.out.strip().splitlines() or [""])[-1]
    if made.code or not path.startswith("/"):
        raise NodeError(connection.target, "no temporary file could be made there.", "Is its disk full?")
    # One sudo, and so one password: the check and the move run in it.
    script = f'visudo -cf "$1" && {sudoers.install("$1", sudo="")}'
    words = shlex.join(["sudo", "sh", "-ec", script, "sh", path])
    try:
        done = subprocess.run(
            [
                "ssh",
                "-t",
                *("-o", "LogLevel=ERROR"),
                *options(connection),
                *("-p", str(connection.port), f"{connection.user}@{connection.host}", words),
            ],
            check=False,
        )
    finally:
        shell.run(f"rm -f {shlex.quote(path)}")
    if done.returncode:
        raise NodeError(
            connection.target,
            "the sudo rules were not installed, and nothing was changed.",
            "Paste them there: `trtspark init --print-sudoers`.",
        )
