"""A login on a node: does it work, and else our public key is put there with the password typed into ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster.errors import ConfigError, NodeError, TrtSparkError, Unreachable
from remote import node
from remote.ssh import Connection, SshShell, explained, options
from trtspark import terminal
from trtspark.questions import Questions

#: In the order in which ssh itself looks for them.
_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")
REFUSED = "was refused"


def ensure(ask: Questions, connection: Connection, install: bool | None) -> None:
    """Returns when a login works. Raises Unreachable when none can be had."""
    try:
        SshShell(connection).run("true", timeout=20)
    except Unreachable as error:
        if REFUSED not in str(error):
            raise
        terminal.err.print(f"{connection.target}: no key of yours is accepted.", markup=False)
        wanted = ask.yes(install, "--install-key", "Put your public key there? ssh asks for the password.")
        if not wanted:
            raise
        put_key(connection, public_key(connection.identity))
        SshShell(connection).run("true", timeout=20)


def public_key(identity: str | None) -> str:
    """Our public key's line: of `identity`, else the agent's first, else of ~/.ssh. Raises ConfigError."""
    if identity is None:
        agent = subprocess.run(["ssh-add", "-L"], capture_output=True, text=True, check=False)
        if agent.returncode == 0 and agent.stdout.strip():
            return agent.stdout.splitlines()[0]
    paths = [Path(identity)] if identity else [Path("~/.ssh").expanduser() / name for name in _NAMES]
    for path in paths:
        public = path.with_name(path.name + ".pub")
        if public.is_file():
            return public.read_text(encoding="utf-8").strip()
    raise ConfigError(
        f"there is no public key ({paths[0]}.pub). Make one with `ssh-keygen -t ed25519`, or name another by "
        "--ssh-key."
    )


def put_key(connection: Connection, key: str) -> None:
    """Add the key to the node's authorized_keys. ssh itself asks for the password on the terminal."""
    words = [
        "ssh",
        # The first value of an option counts: here, and only here, ssh may ask.
        *("-o", "BatchMode=no", "-o", "ControlMaster=no", "-o", "ControlPath=none"),
        *("-o", "PreferredAuthentications=keyboard-interactive,password", "-o", "PubkeyAuthentication=no"),
        *("-o", "NumberOfPasswordPrompts=3"),
        *options(connection),
        *("-p", str(connection.port), f"{connection.user}@{connection.host}"),
        node.command({"authorized_key": {"key": key}}),
    ]
    script = node.program(authorized_key="main")
    done = subprocess.run(words, input=script, stdout=subprocess.PIPE, stderr=None, text=True, check=False)
    if done.returncode == 255:
        raise explained(connection, "Permission denied")
    try:
        added = node.answer(done.stdout)["authorized_key"]["added"]
    except (ValueError, KeyError, TrtSparkError):
        raise NodeError(
            connection.target,
            "the key could not be put there.",
            f"Try `ssh-copy-id -p {connection.port} {connection.user}@{connection.host}`.",
        ) from None
    terminal.hint(f"{connection.target}: {'the key is there now' if added else 'the key was there already'}.")
