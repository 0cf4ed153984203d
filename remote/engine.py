"""Docker's API on a node: the engine's own socket, forwarded over the shared ssh connection.

Connections are kept per process: a provider process serves one `pulumi` run.
"""

from __future__ import annotations

import threading
from typing import Any

import docker
from docker.errors import DockerException

from cluster.errors import NodeError, NotPrepared
from remote.ssh import Connection, SshShell

DOCKER_SOCKET = "/var/run/docker.sock"
API_TIMEOUT_S = 60
#: The version whose answers this program knows. Newer engines still speak it (29.0 to 29.2 nothing older
#: than 1.44) and leave out more of what is empty in their own; older ones (20.10: 1.41) get theirs.
KNOWN_API = "1.44"

_clients: dict[Connection, Any] = {}
_locks: dict[Connection, threading.Lock] = {}
_guard = threading.Lock()


def connect(connection: Connection) -> Any:
    """docker's low-level APIClient for the node's engine. Raises NodeError when there is none."""
    with _guard:
        lock = _locks.setdefault(connection, threading.Lock())
    with lock:
        if connection not in _clients:
            _clients[connection] = _dial(connection)
        return _clients[connection]


def _dial(connection: Connection) -> Any:
    socket = SshShell(connection).forward(DOCKER_SOCKET)
    try:
        return client(socket)
    except DockerException as error:
        said = SshShell(connection).run("docker version").err
        if "permission denied" in said.lower():
            raise NotPrepared(
                connection.target,
                f"user {connection.user} may not use Docker's socket.",
                f"Run there `sudo usermod -aG docker {connection.user}`, then log in again.",
            ) from None
        raise NodeError(
            connection.target,
            f"Docker does not answer over ssh ({error}).",
            f"Check `ssh {connection.target} docker version`.",
        ) from None


def client(socket: str) -> Any:
    """A client for the engine behind a local unix socket, in a version of the API that both know."""
    asking = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=API_TIMEOUT_S)
    about = asking.version(api_version=False)
    asking.close()
    version = negotiated(about["ApiVersion"], about.get("MinAPIVersion", ""))
    return docker.APIClient(base_url=f"unix://{socket}", version=version, timeout=API_TIMEOUT_S)


def negotiated(newest: str, oldest: str) -> str:
    """KNOWN_API, or what is nearest to it between the engine's `oldest` and `newest` version of the API."""
    versions = [tuple(map(int, text.split("."))) for text in (oldest or "1.0", KNOWN_API, newest)]
    low, known, high = versions
    return ".".join(map(str, min(max(low, known), high)))
