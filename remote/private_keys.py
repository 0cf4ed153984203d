"""The operator's private key, as Pulumi's plugins need it: which one, and why one cannot be used."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from cluster.errors import ConfigError
from remote import agent as ssh_agent
from remote import local_paths
from remote.ssh import Connection

#: In the order in which ssh itself looks for them.
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
#: What ssh refuses to use a key file for: any right of anybody else.
_OTHERS = 0o077


def identity(configured: str | None) -> str | None:
    """The absolute path of sshKey; None without one. Raises ConfigError where no private key is there."""
    if configured is None:
        return None
    path = local_paths.expanded(configured)
    if not local_paths.is_file(path):
        what = "which is a folder" if local_paths.is_folder(path) else "and no file is there"
        raise ConfigError(f"sshKey: found {configured!r}, {what}; it may be a private key's path")
    _refuse_public("sshKey", path)
    return str(path.resolve())


def key_file(connection: Connection, agent: str | None) -> str | None:
    """Return the private key that Pulumi's plugins have to be given, or None where the agent serves.

    `agent` is the value of SSH_AUTH_SOCK. The agent serves where it holds the configured key or, without
    one, any key.

    Raises:
        ConfigError: SSH_AUTH_SOCK names an agent that does not answer.
    """
    held = ssh_agent.held(agent) if agent else frozenset()
    path = connection.identity or (None if held else _default_identity())
    return None if path is None or ssh_agent.fingerprint(path) in held else path


def private_key(connection: Connection, agent: str | None) -> str | None:
    """Return the text of that key, for plugins that read no files.

    Raises:
        ConfigError: there is no key, or it cannot be used as it is, or the agent does not answer.
    """
    path = key_file(connection, agent)
    if path is None:
        if connection.identity is None and not (agent and ssh_agent.held(agent)):
            raise ConfigError(_no_key(connection, agent))
        return None
    return _usable(Path(path), "sshKey" if connection.identity else "ssh key", bool(agent))


def _usable(path: Path, key: str, agent: bool) -> str:
    """The text of a key that ssh and the plugins can use without asking anybody."""
    _refuse_public(key, path)
    try:
        text, there = path.read_text(encoding="utf-8", errors="replace"), path.stat()
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}).") from None
    quoted = shlex.quote(str(path))
    if there.st_mode & _OTHERS and there.st_uid == os.getuid():
        raise ConfigError(
            f"{key}: others may read {path} (mode {there.st_mode & 0o777:04o}), and ssh uses no such key. "
            f"Run `chmod 600 {quoted}`."
        )
    words = ["ssh-keygen", "-y", "-P", "", "-f", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return text
    if "incorrect passphrase" in done.stderr:
        start = "" if agent else 'eval "$(ssh-agent)" && '
        raise ConfigError(
            f"{key}: {path} has a passphrase, and no agent holds it; nobody can be asked for it during `up`. "
            f"Run `{start}ssh-add {quoted}`."
        )
    said = (done.stderr.strip().splitlines() or ["no message"])[-1].rpartition(": ")[2]
    raise ConfigError(
        f"{key}: {path} is not a private key that ssh can read ({said}). Name another, or make one with "
        "`ssh-keygen -t ed25519`."
    )


def _refuse_public(key: str, path: Path) -> None:
    try:
        with path.open("rb") as handle:
            start = handle.read(64)
    except OSError:
        return  # whoever reads it says why
    if path.suffix == ".pub" or start.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        other = path.with_suffix("") if path.suffix == ".pub" else path
        raise ConfigError(
            f"{key}: {path} is the public half of a key; it may be the private one's path"
            + (f", which is usually {other}" if other != path else "")
            + "."
        )


def _no_key(connection: Connection, agent: str | None) -> str:
    there = "SSH_AUTH_SOCK's agent holds none" if agent else "no agent runs (SSH_AUTH_SOCK is not set)"
    return (
        f"No ssh key to log in with: {there}, and ~/.ssh has none of {', '.join(_DEFAULT_KEYS)}. Name one as "
        "sshKey, or make one with `ssh-keygen -t ed25519` and send it with "
        f"`ssh-copy-id -p {connection.port} {connection.user}@{connection.host}`."
    )


def _default_identity() -> str | None:
    for name in _DEFAULT_KEYS:
        path = Path("~/.ssh").expanduser() / name
        if path.is_file():
            return str(path)
    return None
