"""Boot a node, look at it, cut its power."""

import json
import os
import socket
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from lab import cgroups, process
from lab.errors import LabError
from lab.network import NAMESPACES
from lab.process import Process
from lab.shell import run
from lab.state import Node
from lab.state import command as command_line
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
        ["sh", HERE / "boot.sh", NAMESPACES / node.namespace, node.folder],
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


class Docker(Enum):
    """What a booted node's Docker is expected to be: the variants' fault may be in its way."""

    RUNS = "runs"
    STARTED = "started"  # it may have refused its configuration
    OFF = "off"


def wait_until_ready(node: Node, docker: Docker) -> None:
    """Wait until sshd answers, and dockerd as far as it is expected to.

    Raises:
        LabError: the node or its Docker gave up, or did not become ready in time.
    """
    log = f"See the end of {node.console} or `{command_line(node.lab_name, 'logs', node.name)}`."

    def missing() -> str | None:
        if not has_power(node):
            raise LabError(f"{node.name} died while it booted: {_last_line(node.console)!r}. {log}")
        if not ssh_answers(node):
            return "sshd does not answer"
        if docker is Docker.OFF or docker_answers(node):
            return None
        unit = service(node, "docker.service")
        if docker is Docker.STARTED and unit.get("restarting"):
            return None
        if unit.get("state") == "failed":
            reason = _last_line(node.disk / "var/log/dockerd.log")
            raise LabError(f"dockerd of {node.name} does not start: {reason!r}. {log}")
        return "dockerd does not answer"

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


def _connect(node: Node, path: str) -> socket.socket:
    """Connect to a Unix socket inside the node."""
    first = first_process(node)
    if first is None:
        raise ConnectionRefusedError(f"{node.name} has no power")
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_DEADLINE)
    try:
        connection.connect(f"/proc/{first.pid}/root{path}")
    except OSError:
        connection.close()
        raise
    return connection


def docker_answers(node: Node) -> bool:
    """Return whether the node's dockerd serves its API."""
    try:
        with _connect(node, "/run/docker.sock") as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return connection.recv(64).split()[1:2] == [b"200"]
    except OSError:
        return False


def service(node: Node, unit: str) -> dict[str, Any]:
    """Return what the node's service manager says of `unit`; nothing while it is not there."""
    try:
        with _connect(node, "/run/lab/service-manager") as connection:
            connection.sendall(json.dumps({"verb": "show", "unit": unit}).encode())
            answer = json.loads(connection.recv(65536))
    except (OSError, ValueError):
        return {}
    return dict(answer)


def execute(node: Node, command: list[str]) -> None:
    """Become `command`, as root inside the node.

    Raises:
        LabError: the node has no power.
    """
    words = _entering(node, command)
    cgroups.join(group(node))  # a power cut has to end it, too
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
        raise node.without_power()
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    return ["nsenter", f"--target={first.pid}", *spaces, "--root", "--wdns=/root", "--", *command]
