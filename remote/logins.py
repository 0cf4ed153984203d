"""From a node's configuration to a login: its pinned host key and the operator's own key."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.config import NodeConfig, Settings
from cluster.errors import ConfigError, Unreachable
from remote import agent as ssh_agent
from remote.ssh import Connection

#: In the order in which ssh itself looks for them.
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
#: The stronger first; one key per host is pinned. No ssh-rsa: Pulumi's command plugin offers a pinned key's
#: type as it is, which for RSA means SHA-1, and sshd has refused that since OpenSSH 8.8.
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")
RSA = "ssh-rsa"


def connections(settings: Settings) -> list[Connection]:
    """One login per active node, head first. Raises ConfigError or Unreachable before any dialling."""
    identity = _identity(settings.ssh_key)
    return [
        Connection(node.host, node.user, node.port, _host_key(node, settings.known_hosts), identity)
        for node in settings.active_nodes
    ]


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
        ConfigError: the file cannot be read, or the agent does not answer.
    """
    path = key_file(connection, agent)
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"sshKey: {path} cannot be read ({error.strerror}).") from None


def _identity(configured: str | None) -> str | None:
    if configured is None:
        return None
    path = Path(configured).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"sshKey: found {configured!r}, and no file is there; it may be a private key's path"
        )
    return str(path.resolve())


def _default_identity() -> str | None:
    for name in _DEFAULT_KEYS:
        path = Path("~/.ssh").expanduser() / name
        if path.is_file():
            return str(path)
    return None


def _host_key(node: NodeConfig, known_hosts: str) -> str:
    if node.host_key and node.host_key.split()[0] != RSA:
        return node.host_key
    found = [node.host_key] if node.host_key else known_keys(known_hosts, node.host, node.port)
    for kind in KEY_TYPES:
        for key in found:
            if key.split()[0] == kind:
                return key
    if any(key.split()[0] == RSA for key in found):
        where = "nodes[].hostKey" if node.host_key else known_hosts
        raise Unreachable(
            _name(node.host, node.port),
            f"{where} has its ssh-rsa key, and Pulumi's command plugin cannot verify keys of that type.",
            f"Put its ed25519 key there, after comparing it on its own screen: `ssh-keyscan -t ed25519 "
            f"-p {node.port} {node.host}`.",
        )
    raise Unreachable(
        _name(node.host, node.port),
        f"its host key is not known (no nodes[].hostKey, and nothing in {known_hosts}).",
        f"Log in once by hand and compare the fingerprint it shows: `ssh -p {node.port} "
        f"{node.user}@{node.host}`.",
    )


def known_keys(known_hosts: str, host: str, port: int) -> Sequence[str]:
    """Keys of a host in the file as ssh-keygen finds them: it understands hashed names."""
    path = Path(known_hosts).expanduser()
    if not path.is_file():
        return []
    done = subprocess.run(
        ["ssh-keygen", "-F", _name(host, port), "-f", str(path)], capture_output=True, text=True, check=False
    )
    rows = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return [" ".join(row[1:3]) for row in rows if len(row) >= 3 and not row[0].startswith("@")]


def _name(host: str, port: int) -> str:
    """As known_hosts names it."""
    return host if port == 22 else f"[{host}]:{port}"
