"""Boot a node, look at it, cut its power."""

import http.client
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from lab import cgroups, process
from lab.errors import LabError
from lab.network import NAMESPACES
from lab.process import Process
from lab.shell import run
from lab.state import Node
from lab.waiting import until

HERE = Path(__file__).parent
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_DEADLINE = 60.0
"""Seconds until ssh and Docker answer; 3 to 5 are usual, more when eight boot on two processors."""
ANSWER_DEADLINE = 2.0


def group(node: Node) -> str:
    """Return the name of the node's control group."""
    return f"{node.lab}/{node.name}"


def boot(node: Node) -> None:
    """Switch the power on; the node is not ready yet. Its network has to be there."""
    files = cgroups.create(group(node))
    process.start(
        ["sh", HERE / "boot.sh", NAMESPACES / node.namespace, node.folder, node.name],
        node.process_record,
        node.console,
        {
            "PATH": PATH,
            "GROUP_FILES": "\n".join(map(str, files)),
            "HIERARCHIES": "\n".join(map(":".join, cgroups.hierarchies().items())),
        },
    )


def has_power(node: Node) -> bool:
    """Return whether the node's processes run."""
    return process.recorded(node.process_record) is not None


def cut(node: Node) -> None:
    """SIGKILL everything the node runs. Its wires have to be pulled before.

    Raises:
        LabError: something of it does not end.
    """
    first = first_process(node)
    if first:
        # With its first process the kernel ends all others, and the one outside picks it up.
        first.kill(node.name)
    cgroups.kill(group(node))
    cgroups.remove(group(node))
    node.process_record.unlink(missing_ok=True)


def first_process(node: Node) -> Process | None:
    """Return the node's process 1, by its id on the host."""
    outer = process.recorded(node.process_record)
    for pid in process.children(outer.pid) if outer else []:
        return process.identify(pid)
    return None


def wait_until_ready(node: Node, *, docker: bool) -> None:
    """Wait until sshd and, if it is to run, dockerd answer.

    Raises:
        LabError: the node died or did not become ready in time.
    """
    log = f"See the end of {node.console} or `python3 -m lab logs {node.name}`."

    def missing() -> str | None:
        if not has_power(node):
            raise LabError(f"{node.name} died while it booted: {_last_line(node.console)!r}. {log}")
        if not ssh_answers(node):
            return "sshd does not answer"
        return None if not docker or docker_answers(node) else "dockerd does not answer"

    until(missing, f"{node.name} to boot", BOOT_DEADLINE, hint=log)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing"


def ssh_answers(node: Node) -> bool:
    """Return whether an ssh server introduces itself on port 22."""
    try:
        with socket.create_connection((str(node.host), 22), ANSWER_DEADLINE) as connection:
            connection.settimeout(ANSWER_DEADLINE)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=ANSWER_DEADLINE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_DEADLINE)
        self.sock.connect(self.path)


def docker_answers(node: Node) -> bool:
    """Return whether the node's dockerd serves its API."""
    first = first_process(node)
    if first is None:
        return False
    connection = _UnixConnection(f"/proc/{first.pid}/root/run/docker.sock")
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def execute(node: Node, command: list[str]) -> None:
    """Become `command`, as root inside the node.

    Raises:
        LabError: the node has no power.
    """
    words = _entering(node, command)
    for file in cgroups.create(group(node)):
        file.write_text(str(os.getpid()))  # a power cut has to end it, too
    os.execvpe(words[0], words, _ENVIRONMENT)


def run_inside(node: Node, *command: str) -> str:
    """Run `command` as root inside the node and return what it printed.

    Raises:
        LabError: the node has no power, or the command failed.
    """
    return run("env", "-i", *(f"{k}={v}" for k, v in _ENVIRONMENT.items()), *_entering(node, command))


_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": os.environ.get("TERM", "dumb"),
}


def _entering(node: Node, command: Sequence[str]) -> list[str]:
    first = first_process(node)
    if first is None:
        raise LabError(f"{node.name} has no power. Give it some: python3 -m lab power on {node.name}")
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    return ["nsenter", f"--target={first.pid}", *spaces, "--root", "--wd=/root", "--", *command]
