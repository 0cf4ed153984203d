"""Docker's API on a node: the engine's own socket, forwarded over the shared ssh connection.

Connections are kept per process: a provider process serves one `pulumi` run.
"""

from __future__ import annotations

import threading
from typing import Any

import docker
from docker.errors import DockerException

from cluster.errors import NodeError
from remote.ssh import Connection, SshShell

DOCKER_SOCKET = "/var/run/docker.sock"
API_TIMEOUT_S = 60

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
        return docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=API_TIMEOUT_S)
    except DockerException as error:
        raise NodeError(
            connection.target,
            f"Docker does not answer over ssh ({error}).",
            f"Check `ssh {connection.target} docker version`.",
        ) from None
