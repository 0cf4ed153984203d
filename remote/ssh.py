"""Shells on nodes: the system's ssh over one shared connection per node.

The user's agent, keys and ssh settings work as they do by hand. Host keys are pinned on the command line
by KnownHostsCommand, so there is no file to keep, and a key of another machine is refused.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import LoginRefused, NodeError, Unreachable
from remote import limited
from remote.node.door import Door

CONNECT_TIMEOUT_S = 8
#: How long an idle shared connection stays, so that the next command needs no new login.
PERSIST_S = 60
UNHEARD_TIMEOUT_S = 0.5
#: ssh's own exit code for its own failures; a command's codes are below.
SSH_FAILED = 255


@dataclass(frozen=True)
class Connection:
    """How to log in on a node. `host_key` is "type base64"; `identity` a private key's path or None."""

    host: str
    user: str
    port: int
    host_key: str
    identity: str | None = None

    @property
    def target(self) -> str:
        """user@host, with the port when it is not ssh's own."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")

    def as_props(self) -> dict[str, Any]:
        """Plain data for a resource's inputs."""
        return {
            "host": self.host,
            "user": self.user,
            "port": self.port,
            "hostKey": self.host_key,
            "identity": self.identity or "",
        }

    @staticmethod
    def from_props(props: Mapping[str, Any]) -> Connection:
        """The inverse of `as_props`; Pulumi hands numbers back as floats."""
        return Connection(
            props["host"],
            props["user"],
            int(props["port"]),
            props["hostKey"],
            props.get("identity") or None,
        )


@dataclass(frozen=True)
class Result:
    """A finished command."""

    code: int
    out: str
    err: str


class Shell(Protocol):
    """What a node's shell can do; tests bring their own."""

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        """Run one command line there; `timeout` in seconds."""
        ...

    def close(self) -> None:
        """Forget the connection; the next command logs in anew."""
        ...

    def renew(self) -> None:
        """Likewise, and let what goes over the connection now go on."""
        ...


def options(connection: Connection) -> list[str]:
    """ssh's options for this node: pinned key, no questions, one shared connection."""
    kind = connection.host_key.split()[0]
    algorithms = "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind
    words = [
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        f"KnownHostsCommand=/bin/echo %H {connection.host_key}",
        f"HostKeyAlgorithms={algorithms}",
        "ControlMaster=auto",
        f'ControlPath="{control_path(connection)}"',
        f"ControlPersist={PERSIST_S}",
    ]
    if connection.identity:
        words += [f'IdentityFile="{connection.identity}"', "IdentitiesOnly=yes"]
    return [part for word in words for part in ("-o", word)]


#: Bytes. A socket's path has at most 103 (macOS; 107 on Linux), and ssh binds to ours with 17 more first.
LONGEST_FOLDER = 103 - len("/0123456789abcdef") - 17


def runtime_folder() -> Path:
    """A private folder with a short path: below /tmp where TMPDIR is too long for a socket in it."""
    name = f"trtspark-{os.getuid()}"
    folder = Path(tempfile.gettempdir(), name)
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        folder = Path("/tmp", name)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NodeError(
            str(folder), "it is not this user's alone.", "Remove it and try again: sockets live there."
        )
    return folder


def control_path(connection: Connection) -> str:
    """The shared connection's socket: the same for every process that means the same login."""
    text = f"{connection.target} {connection.port} {connection.host_key} {connection.identity}"
    return str(runtime_folder() / hashlib.sha256(text.encode()).hexdigest()[:16])


class SshShell:
    """A node's shell by ssh."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is dialled until the first command."""
        self.connection = connection

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        """Run one command line. Raises Unreachable when there is no session, with the cause, and NodeError
        for an output without end.
        """
        try:
            done = limited.run([*self._ssh(), self._destination(), command], stdin, timeout)
        except subprocess.TimeoutExpired:
            raise silent(self.connection, timeout) from None
        except limited.TooMuch:
            raise NodeError(
                self.connection.target,
                f"it printed more than {limited.MOST_BYTES >> 20} MB at one command.",
                "Does its login print without end? "
                f"`ssh -p {self.connection.port} {self.connection.user}@{self.connection.host} true` tells.",
            ) from None
        if done.returncode == SSH_FAILED:
            raise explained(self.connection, done.stderr)
        return Result(done.returncode, done.stdout, done.stderr)

    def stream(self, command: str, stdin: str) -> subprocess.Popen[str]:
        """Start a command that goes on; its output is read line by line, and ending it is the caller's."""
        process = subprocess.Popen(
            [*self._ssh(), self._destination(), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            # Ctrl-C is the caller's to handle, not ssh's.
            start_new_session=True,
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once: there will be no line
            process.stdin.write(stdin)
            process.stdin.close()
        return process

    def forward(self, remote_socket: str) -> str:
        """A local unix socket that leads to `remote_socket` on the node, over the shared connection."""
        self.run("true")
        control = Path(control_path(self.connection))
        # ssh leaves its sockets behind when it ends.
        for left in control.parent.glob(f"{control.name}.*"):
            _unlink_unheard(left)
        local = control.parent / f"{control.name}.{os.getpid()}"
        local.unlink(missing_ok=True)
        self._control("forward", "-L", f"{local}:{remote_socket}")
        return str(local)

    def dial(self, command: str, name: str) -> str:
        """A local unix socket, of which every connection is the input and output of one run of `command` on
        the node, over the shared connection. It lives as long as this process. `name`: a letter of its own.
        """
        control = Path(control_path(self.connection))
        local = control.parent / f"{control.name}.{os.getpid()}{name}"
        local.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(local))
        server.listen()
        Door(lambda *_: None, lambda connection, _: self._through(connection, command)).open(server)
        return str(local)

    def _through(self, connection: socket.socket, command: str) -> None:
        argv = [*self._ssh(), self._destination(), command]
        with connection, suppress(OSError):  # no descriptor or process left: the connection ends
            child = subprocess.Popen(
                argv,
                stdin=connection.fileno(),
                stdout=connection.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            connection.close()
            child.wait()

    def close(self) -> None:
        """End the shared connection: a new login sees what a shared one does not, like new groups."""
        with suppress(Unreachable):
            self._control("exit")

    def renew(self) -> None:
        """Give the shared connection up to those who use it now: whoever comes next logs in anew."""
        with suppress(Unreachable):
            self._control("stop")

    def _control(self, verb: str, *words: str) -> None:
        command = [*self._ssh(), "-O", verb, *words, self._destination()]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CONNECT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise silent(self.connection, CONNECT_TIMEOUT_S) from None
        if done.returncode:
            raise explained(self.connection, done.stderr)

    def _ssh(self) -> list[str]:
        return ["ssh", *options(self.connection), "-p", str(self.connection.port)]

    def _destination(self) -> str:
        return f"{self.connection.user}@{self.connection.host}"


def _unlink_unheard(path: Path) -> None:
    """Remove a unix socket that nobody listens on any more; a new one may be about to be listened on."""
    with socket.socket(socket.AF_UNIX) as trying, suppress(OSError):
        if time.time() - path.stat().st_mtime < PERSIST_S:
            return
        trying.settimeout(UNHEARD_TIMEOUT_S)
        try:
            trying.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


class FreshShell(SshShell):
    """A shell whose every command dials anew: it proves that a login works now, not that one did."""

    def _ssh(self) -> list[str]:
        # The first value of an option counts.
        fresh = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        return ["ssh", *fresh, *options(self.connection), "-p", str(self.connection.port)]


#: Part of ssh's own text -> (what was found, what to do). The first match counts.
_REFUSED = "the login of user {user} was refused."
_CAUSES: Sequence[tuple[str, str, str]] = (
    (
        "Host key verification failed",
        "its host key is not the pinned one (pinned {pinned}, it has {sent}).",
        "If the machine was reinstalled, put its new key in nodes[].hostKey or known_hosts "
        "(`ssh-keyscan {host}`), after comparing it on its own screen; if not, somebody may be in between.",
    ),
    (
        "agent refused operation",
        "your ssh agent refused to use its key, so the login of user {user} failed.",
        "Confirm it where the agent asks (a window, a security key's button), unlock the agent with "
        "`ssh-add -X`, or give it the key anew with `ssh-add`.",
    ),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        "others may read your private key, so ssh did not use it.",
        "Run `chmod 600` on the key that `ssh -v -p {port} {user}@{host}` names.",
    ),
    (
        "Bad owner or permissions on",
        "ssh refuses its own settings: they belong to another user, or others may write them.",
        "Run `chmod go-w ~/.ssh ~/.ssh/config`, and look at the owner with `ls -l ~/.ssh`.",
    ),
    (
        "Permission denied",
        _REFUSED,
        "Check nodes[].user, and that your key is there: `ssh-copy-id -p {port} {user}@{host}`.",
    ),
    (
        "Too many authentication failures",
        _REFUSED,
        "It gave up on your agent's many keys: name the one that is there as sshKey, or keep fewer in the "
        "agent (`ssh-add -d`).",
    ),
    ("Could not resolve", "the host name is unknown.", "Check nodes[].host."),
    (
        "Connection refused",
        "nothing listens on port {port}.",
        "Check nodes[].port, and that sshd runs there (`sudo systemctl start ssh`).",
    ),
    (
        "timed out",
        "it does not answer on port {port}.",
        "Is it on, and on this network? `ping {host}` tells.",
    ),
    ("No route to host", "there is no route to it.", "Is it on, and on this network?"),
    ("Network is unreachable", "there is no route to it.", "Check nodes[].host and your network."),
)


def fingerprint(host_key: str) -> str:
    """SHA256:… of "type base64", as ssh-keygen -l shows it; "unreadable" where it is none."""
    try:
        data = base64.b64decode(host_key.split()[1], validate=True)
    except (ValueError, IndexError):
        return "unreadable"
    return "SHA256:" + base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def silent(connection: Connection, seconds: float) -> Unreachable:
    """The error of an ssh that gave no answer within so many seconds."""
    return Unreachable(
        connection.target,
        f"no answer within {seconds:.0f} s.",
        "Is the machine busy or its network gone? Try the same again. A slow ~/.bashrc delays every command: "
        f"`time ssh -p {connection.port} {connection.user}@{connection.host} true` tells.",
    )


def explained(connection: Connection, stderr: str) -> Unreachable:
    """An error in the user's words from ssh's last words."""
    sent = re.search(r"SHA256:[A-Za-z0-9+/]{43}", stderr)
    values = {
        "host": connection.host,
        "user": connection.user,
        "port": connection.port,
        "pinned": fingerprint(connection.host_key),
        "sent": sent.group(0) if sent else "another",
    }
    for sign, found, todo in _CAUSES:
        if sign in stderr:
            kind = LoginRefused if found == _REFUSED else Unreachable
            return kind(connection.target, found.format(**values), todo.format(**values))
    last = (stderr.strip().splitlines() or ["no message"])[-1].strip()
    return Unreachable(
        connection.target, f"ssh failed: {last}", f"Try it by hand: `ssh {connection.target}`."
    )
