"""Docker's API on a node: the engine's own socket, forwarded over the shared ssh connection, or where sshd
does not allow that, `docker system dial-stdio` in sessions of it.

Connections are kept per process: a provider process serves one `pulumi` run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from cluster.errors import NodeError, NotPrepared, Unreachable
from remote import web
from remote.ssh import Connection, SshShell

DOCKER_SOCKET = "/var/run/docker.sock"
#: Docker's own way to an engine by ssh: its API on the command's input and output.
DIAL = "docker system dial-stdio"
API_TIMEOUT_S = 60
#: The longest answer is a log, which may come over a slow line.
ANSWER_BYTES, ANSWER_S = 256 << 20, 600
#: The version whose answers this program knows. Newer engines still speak it (29.0 to 29.2 nothing older
#: than 1.44) and leave out more of what is empty in their own; older ones (20.10: 1.41) get theirs.
KNOWN_API = "1.44"

#: The longest text of Docker's own that an error shows.
SHOWN_CHARS = 300


class DockerRefused(APIError):  # type: ignore[misc]  # docker has no types
    """Docker's own refusal, told with the node: `NODE: Docker refused: …`."""

    def __init__(self, node: str, error: APIError) -> None:
        """`error` as docker's library raised it."""
        super().__init__(str(error), response=error.response, explanation=error.explanation)
        self.node = node

    def __str__(self) -> str:
        said = " ".join(str(self.explanation or self.args[0]).split())[:SHOWN_CHARS]
        return f"{self.node}: Docker refused: {said.rstrip('.')}."


class DockerLacks(DockerRefused, NotFound):  # type: ignore[misc]  # likewise
    """Likewise, for what is not there."""


class DockerLacksImage(DockerLacks, ImageNotFound):  # type: ignore[misc]  # likewise
    """Likewise, for an image that is not there."""


#: docker's own classes, the narrowest first, and ours.
_REFUSALS: dict[type[APIError], type[DockerRefused]] = {
    ImageNotFound: DockerLacksImage,
    NotFound: DockerLacks,
    APIError: DockerRefused,
}


class NodeDocker:
    """docker's low-level client for one node, whose errors are one sentence with the node's name.

    A refusal stays an APIError with its status. A Docker that no longer answers is Unreachable, and the next
    call dials anew: the machine or the network may be back.
    """

    def __init__(self, node: str, dial: Callable[[], Any]) -> None:
        """`node` as errors name it; `dial` gives docker's client, or raises a NodeError. It is called now."""
        self._node, self._dial = node, dial
        self._client: Any = dial()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The client's method of that name; its errors are told as above."""
        return partial(self._call, name)

    def _call(self, method: str, /, *args: Any, **options: Any) -> Any:
        client = self._client = self._client or self._dial()
        try:
            return getattr(client, method)(*args, **options)
        except APIError as error:
            kind = next(ours for theirs, ours in _REFUSALS.items() if isinstance(error, theirs))
            raise kind(self._node, error) from None
        except (requests.RequestException, DockerException, OSError, RecursionError) as error:
            self._client = None
            raise Unreachable(
                self._node,
                f"Docker stopped answering ({_kind(error)}).",
                "Check that the machine is on and that `ssh` reaches it, then run the same again.",
            ) from None


def _kind(error: Exception) -> str:
    """requests' own text is a chain of class names and addresses in memory."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
        return "no answer in time"
    if isinstance(error, web.TooLong):
        return str(error)
    if isinstance(error, requests.JSONDecodeError | RecursionError):
        return "its answer is no JSON"
    return "the connection broke" if isinstance(error, requests.RequestException | OSError) else str(error)


_clients: dict[Connection, Any] = {}
_locks: dict[Connection, threading.Lock] = {}
_guard = threading.Lock()


def connect(connection: Connection) -> Any:
    """docker's low-level APIClient for the node's engine. Raises NodeError when there is none."""
    with _guard:
        lock = _locks.setdefault(connection, threading.Lock())
    with lock:
        if connection not in _clients:
            _clients[connection] = NodeDocker(connection.target, partial(_dial, connection))
        return _clients[connection]


def _dial(connection: Connection) -> Any:
    """A client over the forwarded socket, or Docker's own way by ssh: docs/decisions/0060-dial-stdio.md."""
    shell = SshShell(connection)
    failures = (requests.RequestException, DockerException, OSError)
    try:
        return client(shell.forward(DOCKER_SOCKET))
    except failures as error:
        asked = shell.run("docker version")
        if asked.code == 0:
            # Docker answers its own program there: it is sshd that forwards no sockets.
            with suppress(*failures):
                found = client(shell.dial(DIAL, "d"))
                # sshd allows ten sessions in a connection: none is kept for a next question.
                found.headers["Connection"] = "close"
                return found
        said = asked.err
        if "permission denied" in said.lower():
            raise NotPrepared(
                connection.target,
                f"user {connection.user} may not use Docker's socket.",
                f"Run there `sudo usermod -aG docker {connection.user}`, then log in again.",
            ) from None
        raise NodeError(
            connection.target,
            f"Docker does not answer over ssh ({_kind(error)}).",
            f"Check `ssh {connection.target} docker version`.",
        ) from None


class _Client(docker.APIClient):  # type: ignore[misc]  # docker has no types
    """docker's, which reads no answer beyond `ANSWER_BYTES`; streams are read as they come."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As requests' own."""
        answer = super().send(request, **{**options, "stream": True})
        return answer if options.get("stream") else web.whole(answer, ANSWER_S, ANSWER_BYTES)


def client(socket: str) -> Any:
    """A client for the engine behind a local unix socket, in a version of the API that both know."""
    # Given a version it asks for none by itself, so that it is there to be closed whatever happens.
    with closing(_Client(base_url=f"unix://{socket}", version=KNOWN_API, timeout=API_TIMEOUT_S)) as one:
        about = one.version(api_version=False)
    version = negotiated(about["ApiVersion"], about.get("MinAPIVersion", ""))
    return _Client(base_url=f"unix://{socket}", version=version, timeout=API_TIMEOUT_S)


def negotiated(newest: str, oldest: str) -> str:
    """KNOWN_API, or what is nearest to it between the engine's `oldest` and `newest` version of the API."""
    versions = [tuple(map(int, text.split("."))) for text in (oldest or "1.0", KNOWN_API, newest)]
    low, known, high = versions
    return ".".join(map(str, min(max(low, known), high)))
