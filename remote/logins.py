"""From a node's configuration to a login: its pinned host key and the operator's own key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from cluster.config import NodeConfig, Settings
from cluster.errors import ConfigError, TrtSparkError, Unreachable
from remote import agent as ssh_agent
from remote import local_paths, private_keys, ssh_config
from remote.ssh import Connection
from remote.ssh_config import Way

#: The stronger first; one key per host is pinned. No ssh-rsa: Pulumi's command plugin offers a pinned key's
#: type as it is, which for RSA means SHA-1, and sshd has refused that since OpenSSH 8.8.
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")
RSA = "ssh-rsa"


def connections(settings: Settings) -> list[Connection]:
    """One login per active node, head first.

    Raises one error before any dialling, with a line for each key or host that is not right: ConfigError,
    or Unreachable where it is about one host alone.
    """
    identity = private_keys.identity(settings.ssh_key)
    found: list[Connection] = []
    errors: list[TrtSparkError] = []
    for node in settings.active_nodes:
        try:
            way = _refuse_unfollowed(node)
            key = identity or (way.identities[0] if way.identities and not _agent_serves() else None)
            host_key = _host_key(node, settings.known_hosts)
        except TrtSparkError as error:
            errors.append(error)
        else:
            found.append(Connection(node.host, node.user, node.port, host_key, key))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise TrtSparkError("\n".join(map(str, errors)))
    if len({one.identity for one in found}) > 1:
        raise ConfigError(
            "sshKey: ~/.ssh/config has different keys for the nodes, and Pulumi's command plugin is given "
            "one; name as sshKey a key that all of them accept"
        )
    return found


def _agent_serves() -> bool:
    """Whether an agent holds a key: ssh tries it, and the plugins are then given no other."""
    agent = os.environ.get("SSH_AUTH_SOCK")
    with suppress(ConfigError):  # whoever needs the agent says that it does not answer
        return bool(agent and ssh_agent.held(agent))
    return False


def _refuse_unfollowed(node: NodeConfig) -> Way:
    """How ssh reaches the host. Raises Unreachable where ssh alone would find it: Pulumi's command plugin
    dials by itself, and reads no settings of ssh.
    """
    way = ssh_config.way(node.host)
    if way.through:
        raise Unreachable(
            node.host,
            f"~/.ssh/config reaches it through {way.through!r}, which Pulumi's command plugin cannot follow, "
            "and the API's port is not behind it.",
            "Run this on a machine that reaches it directly, as the jump host may, or join its network by "
            "VPN, and put the address there into nodes[].host.",
        )
    if way.host.lower() != node.host.lower():
        entry = {"host": way.host, "user": node.user if "user" in node.model_fields_set else way.user}
        port = str(node.port) if "port" in node.model_fields_set else way.port
        written = ", ".join(f"{key}: {value}" for key, value in entry.items())
        raise Unreachable(
            node.host,
            "it is a name of ~/.ssh/config, which Pulumi's command plugin does not read.",
            f"Write in nodes what it stands for: {{{written}{'' if port == '22' else f', port: {port}'}}}.",
        )
    return way


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
    path = local_paths.expanded(known_hosts)
    nothing = "nothing in" if local_paths.is_file(path) else "there is no file"
    raise Unreachable(
        _name(node.host, node.port),
        f"its host key is not known (no nodes[].hostKey, and {nothing} {known_hosts}).",
        f"Log in once by hand and compare the fingerprint it shows: `ssh -p {node.port} "
        f"{node.user}@{node.host}`.",
    )


def known_keys(known_hosts: str, host: str, port: int) -> Sequence[str]:
    """Keys of a host in the file as ssh-keygen finds them: it understands hashed names."""
    path = local_paths.expanded(known_hosts)
    if not local_paths.is_file(path):
        return []
    done = subprocess.run(
        ["ssh-keygen", "-F", _name(host, port), "-f", str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not os.access(path, os.R_OK):
        raise ConfigError(f"knownHosts: {known_hosts} cannot be read. Run `chmod u+r {path}`.")
    rows = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return [" ".join(row[1:3]) for row in rows if len(row) >= 3 and not row[0].startswith("@")]


def _name(host: str, port: int) -> str:
    """As known_hosts names it."""
    return host if port == 22 else f"[{host}]:{port}"
