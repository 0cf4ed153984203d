"""The Docker Engine API, as far as images and a Swarm's configs and secrets need it."""

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote, urlencode

from plugins.docker.connection import Connection, HostError, connection
from plugins.provider import OperationError
from plugins.wire import Value

# The newest version that the vendor's plugin speaks; an older Engine says so when pinged.
NEWEST_API = (1, 51)

Query = Mapping[str, str] | Sequence[tuple[str, str]]


class ApiError(OperationError):
    """The Engine refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status


class DeadlineError(OperationError):
    """The operation's time is over; in Go's words."""

    def __init__(self) -> None:
        super().__init__("context deadline exceeded")


class Engine:
    """The Engine at `host` ("ssh://user@host", "unix:///path", …); connects at the first use.

    Safe for several threads: each request has a connection for itself.
    """

    def __init__(self, host: str, ssh_opts: list[str]) -> None:
        self._host = host
        self._ssh_opts = ssh_opts
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._version = ""
        self._limit = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Ends what this thread asks in the block once `seconds` are over, as Go's contexts do.

        Raises DeadlineError then.
        """
        self._limit.end = time.monotonic() + seconds
        try:
            yield
        finally:
            del self._limit.end

    def close(self) -> None:
        """End the connections that are not in use."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()

    def get(self, path: str, **query: str) -> Value:
        """The JSON answer to a GET."""
        return self._json("GET", path, query)

    def post(self, path: str, body: Value = None, **query: str) -> Value:
        """The JSON answer to a POST of `body`."""
        return self._json("POST", path, query, body)

    def delete(self, path: str, **query: str) -> Value:
        """The JSON answer to a DELETE."""
        return self._json("DELETE", path, query)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Query,
        headers: Mapping[str, str],
        body: bytes | IO[bytes] | None = None,
    ) -> Iterator[Iterator[dict[str, Value]]]:
        """POST, and the JSON documents of the answer one by one as they come."""
        with self._request("POST", path, query, headers, body) as response:
            yield (json.loads(line) for line in response if line.strip())

    def _over(self) -> bool:
        end = getattr(self._limit, "end", None)
        return end is not None and time.monotonic() >= end

    def _json(self, method: str, path: str, query: Query, body: Value = None) -> Value:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with self._request(method, path, query, headers, data) as response:
            text = response.read()
        return json.loads(text) if text.strip() else None

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        query: Query,
        headers: Mapping[str, str],
        body: bytes | IO[bytes] | None,
    ) -> Iterator[http.client.HTTPResponse]:
        self._negotiate()
        target = f"/v{self._version}{quote(path, safe='/:@')}" + (f"?{urlencode(query)}" if query else "")
        link, response = self._send(method, target, headers, body)
        end = getattr(self._limit, "end", None)
        timer = threading.Timer(max(0.0, (end or 0) - time.monotonic()), link.interrupt)
        if end is not None:
            timer.start()
        try:
            _check(response)
            yield response
            response.read()  # to its end, so that the connection can serve again
        except BaseException as error:
            link.end()
            broken = isinstance(error, (OSError, http.client.HTTPException, ValueError))
            if broken and self._over():
                raise DeadlineError from None
            raise
        finally:
            timer.cancel()
        if self._over():  # an interrupted answer may look like one that is complete
            link.end()
            raise DeadlineError
        with self._lock:
            self._idle.append(link)

    def _negotiate(self) -> None:
        """Make sure once that the Engine answers, and which version of the API to speak."""
        if self._version:
            return
        try:
            link, response = self._send("HEAD", "/_ping", {}, None)
        except OperationError as error:
            raise OperationError(
                "failed to create Docker client: Error pinging Docker server, please make sure "
                f"that {self._host} is reachable and has a  '_ping' endpoint. Error: {error}"
            ) from None
        response.read()
        theirs = response.headers.get("Api-Version", "1.24")
        version = min(NEWEST_API, tuple(int(part) for part in theirs.split(".")))
        with self._lock:
            self._version = ".".join(str(part) for part in version)
            self._idle.append(link)

    def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None
    ) -> tuple[Connection, http.client.HTTPResponse]:
        """Send, by an idle connection when there is one: it may have ended since, so twice."""
        with self._lock:
            link = self._idle.pop() if self._idle else None
        if link is not None:
            try:
                link.request(method, target, body, dict(headers))
                return link, link.getresponse()
            except (OSError, http.client.HTTPException):
                link.end()
        try:
            link = connection(self._host, self._ssh_opts)
        except HostError as error:
            raise OperationError(str(error)) from None
        try:
            link.request(method, target, body, dict(headers))
            return link, link.getresponse()
        except (OSError, http.client.HTTPException) as error:
            detail = link.failure()
            link.end()
            if not detail and isinstance(error, OSError):
                raise OperationError(
                    f"Cannot connect to the Docker daemon at {self._host}. Is the docker daemon running?"
                ) from None
            url = f"http://docker.example.com{target}"
            raise OperationError(
                f'error during connect: {method.capitalize()} "{url}": {detail or error}'
            ) from None


def registry_header(auth: Mapping[str, str]) -> str:
    """Credentials for a registry, as the X-Registry-Auth header wants them."""
    return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()


def _check(response: http.client.HTTPResponse) -> None:
    if response.status >= 400:
        raise ApiError(response.status, _message(response))


def _message(response: http.client.HTTPResponse) -> str:
    text = response.read().decode(errors="replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or f"HTTP status {response.status}"
