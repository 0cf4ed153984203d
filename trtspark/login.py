"""A login on a node: does it work, and else our public key is put there with the password typed into ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from cluster.errors import ConfigError, LoginRefused, NodeError, TrtSparkError
from remote import limited, node
from remote.private_keys import key_file
from remote.ssh import SSH_FAILED, Connection, SshShell, explained, options
from trtspark import terminal
from trtspark.questions import Questions

#: In the order in which ssh itself looks for them.
_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")
#: ssh's own word, and how often a person may mistype.
DENIED = "Permission denied"
PROMPTS = 3
#: Seconds, a person's typing included.
TYPING_S = 300.0


def ensure(ask: Questions, connection: Connection, install: bool | None) -> None:
    """Returns when a login works. Raises Unreachable when none can be had."""
    try:
        SshShell(connection).run("true", timeout=20)
    except LoginRefused:
        terminal.say(f"{connection.target}: no key of yours is accepted.")
        wanted = ask.yes(install, "--install-key", "Put your public key there? ssh asks for the password.")
        if not wanted:
            raise
        put_key(connection, public_key(connection.identity))
        SshShell(connection).run("true", timeout=20)


def key_notice(connection: Connection, agent: str | None) -> str:
    """Return where the private key will go and how to keep it from there; "" where an agent serves.

    `agent` is the value of SSH_AUTH_SOCK. Raises ConfigError for an agent that does not answer.
    """
    path = key_file(connection, agent)
    if path is None:
        return ""
    start = "" if agent else 'eval "$(ssh-agent)" && '
    return (
        f"Pulumi's plugins will read {path}. The key then is in Pulumi's state, encrypted, and in clear in "
        f"verbose logs (-v=9). An ssh agent keeps it from both: `{start}ssh-add {shlex.quote(path)}`"
    )


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
    """Add the key to the node's authorized_keys. ssh itself asks for the password on the terminal: it goes
    nowhere else. Raises NodeError, and then nothing was changed there.
    """
    if not _can_ask():
        raise NodeError(
            connection.target,
            "ssh has no terminal to ask for the password on.",
            f"Run the same in one, or `{_by_hand(connection)}`.",
        )
    script = node.program(authorized_key="main")
    for left in reversed(range(PROMPTS)):
        try:
            done = limited.run(_asking(connection, key), script, TYPING_S)
        except subprocess.TimeoutExpired:
            raise NodeError(
                connection.target,
                f"the login did not end within {TYPING_S:.0f} s; whether your key is there is not known.",
                "Run the same again: it is added once only.",
            ) from None
        except limited.TooMuch:
            raise NodeError(
                connection.target,
                "its login prints without end.",
                f"Try it by hand: `{_by_hand(connection)}`.",
            ) from None
        if done.returncode != SSH_FAILED or DENIED not in done.stderr:
            break
        if not _takes_passwords(done.stderr):
            raise NodeError(
                connection.target,
                "it takes no passwords, keys only.",
                f"Add this line to ~/.ssh/authorized_keys there, on its own screen: `{key}`",
            )
        if left:
            terminal.say(f"{connection.target}: that password was not accepted; try again.")
    if done.returncode == SSH_FAILED:
        if DENIED in done.stderr:
            raise NodeError(
                connection.target,
                f"no password of {PROMPTS} was accepted, and nothing was changed.",
                "Check the user's name and password on its own screen.",
            )
        raise explained(connection, done.stderr)
    try:
        added = node.answer(done.stdout)["authorized_key"]["added"]
    except (ValueError, KeyError, TrtSparkError):
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NodeError(
            connection.target, f"the key could not be put there ({said}).", f"Try `{_by_hand(connection)}`."
        ) from None
    terminal.hint(f"{connection.target}: {'the key is there now' if added else 'the key was there already'}.")


def _asking(connection: Connection, key: str) -> list[str]:
    """ssh's command line. A prompt each: between two we say what was wrong."""
    return [
        "ssh",
        # The first value of an option counts: here, and only here, ssh may ask.
        *("-o", "BatchMode=no", "-o", "ControlMaster=no", "-o", "ControlPath=none"),
        *("-o", "PreferredAuthentications=keyboard-interactive,password", "-o", "PubkeyAuthentication=no"),
        *("-o", "NumberOfPasswordPrompts=1"),
        *options(connection),
        *("-p", str(connection.port), f"{connection.user}@{connection.host}"),
        node.command({"authorized_key": {"key": key}}),
    ]


def _takes_passwords(stderr: str) -> bool:
    """By ssh's last words: "user@host: Permission denied (publickey,password)."."""
    offered = stderr.rpartition(DENIED)[2]
    return "password" in offered or "keyboard-interactive" in offered


def _can_ask() -> bool:
    """Whether ssh finds somebody to ask: the terminal (a pipe may be our input), or a graphical prompt."""
    if os.environ.get("SSH_ASKPASS") or os.environ.get("DISPLAY"):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _by_hand(connection: Connection) -> str:
    return f"ssh-copy-id -p {connection.port} {connection.user}@{connection.host}"
