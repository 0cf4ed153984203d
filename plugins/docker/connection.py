"""HTTP connections to a Docker Engine: a local socket, TCP, or `docker system dial-stdio` by ssh."""

import http.client
import shlex
import socket
import tempfile
from contextlib import suppress
from subprocess import Popen, TimeoutExpired
from urllib.parse import SplitResult, urlsplit

# docker/cli 28.5, which the vendor's plugin dials with, adds this word where the options say nothing of it.
CONNECT_TIMEOUT = "-o ConnectTimeout=30"
EXIT_WAIT_SECONDS = 5.0

_dialed: set["Popen[bytes]"] = set()


class HostError(Exception):
    """The host's address is not one that a Docker Engine can be reached at."""


def end_dialed() -> None:
    """End every ssh that still runs (the engine wants to leave)."""
    for process in list(_dialed):
        process.kill()


class Connection(http.client.HTTPConnection):
    """One connection, made at the first request."""

    _answering: socket.socket | None = None

    def getresponse(self) -> http.client.HTTPResponse:
        """As http.client's, which forgets the socket where the answer is the last one by it."""
        self._answering = self.sock
        return super().getresponse()

    def failure(self) -> str:
        """More about a connection that broke, for the user."""
        return ""

    def end(self) -> None:
        """Close it for good. (`close` is also http.client's own way to prepare for the next.)"""
        self.close()

    def interrupt(self) -> None:
        """Make whoever reads an answer from it, in another thread, find its end."""
        if self._answering is not None:
            with suppress(OSError):  # closed already
                self._answering.shutdown(socket.SHUT_RDWR)


class UnixConnection(Connection):
    """To the socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class SshConnection(Connection):
    """To the Engine of another machine, through that machine's docker client."""

    def __init__(self, argv: list[str]) -> None:
        super().__init__("docker.example.com")
        self._argv = argv
        self._process: Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()

    def connect(self) -> None:
        self._end_process()
        self.sock, theirs = socket.socketpair()
        with theirs:
            self._process = Popen(
                self._argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._stderr
            )
        _dialed.add(self._process)

    def failure(self) -> str:
        if self._process is None:
            return ""
        try:
            status = self._process.wait(EXIT_WAIT_SECONDS)
        except TimeoutExpired:
            return ""
        self._stderr.seek(0)
        stderr = self._stderr.read().decode(errors="replace").strip()
        return (
            f"command [{' '.join(self._argv)}] has exited with exit status {status}, make sure "
            "the URL is valid, and Docker 18.09 or later is installed on the remote host: "
            f"stderr={stderr}"
        )

    def end(self) -> None:
        self.close()
        self._end_process()
        self._stderr.close()

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            _dialed.discard(self._process)
            self._process = None


def connection(host: str, ssh_opts: list[str]) -> Connection:
    """A new connection to `host`: unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT][/SOCKET].

    Raises HostError.
    """
    url = urlsplit(host)
    if url.scheme == "unix":
        return UnixConnection(url.netloc + url.path)
    if url.scheme == "tcp" and url.hostname:
        return Connection(url.hostname, url.port or 2375)
    if url.scheme == "ssh" and url.hostname:
        return SshConnection(_dial_command(url, ssh_opts))
    raise HostError(f"unable to parse docker host `{host}`")


def _dial_command(url: SplitResult, ssh_opts: list[str]) -> list[str]:
    remote = ["docker", "system", "dial-stdio"]
    if url.path.strip("/"):
        remote[1:1] = [f"--host=unix://{url.path}"]
    words = ["ssh"]
    if url.username:
        words += ["-l", url.username]
    if url.port:
        words += ["-p", str(url.port)]
    words += ssh_opts
    if "ConnectTimeout" not in "".join(ssh_opts):
        words.append(CONNECT_TIMEOUT)
    if "-T" not in ssh_opts:
        words.append("-T")
    return [*words, "--", url.hostname or "", shlex.join(remote)]
