"""The serving image on one node: there already, or pulled by a job there that outlives this process."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster import image_pull
from cluster.errors import NotReady, Unreachable
from cluster.service_spec import short
from cluster.weights_progress import Progress
from remote import jobs, node
from remote.ssh import Connection, Shell, SshShell

MODULES = ("stop", "whole_file", "detached", "untrusted", "docker_api", "pull_agent", "pull_job")
SOCKET = "/var/run/docker.sock"
#: Docker says something every second or so, unpacking included.
STALL_S = 600.0
#: At 3 Mbit/s, 30 GB take a day.
LIMIT_S = 86400.0
#: By then Docker has said which layers are there already.
SETTLE_S = 2.0
ROUNDS = 4
PAUSE_S = 0.1
SAY_EVERY_S = 1.0
TODO = "Check there `docker version`, then run `pulumi up` again."


class _Lost(Exception):
    """The job is not to be heard of any more: ask anew."""


def ensure(
    props: Mapping[str, Any], say: Callable[[str], None], shell: Callable[[Connection], Shell] = SshShell
) -> str:
    """The digest (NAME@sha256:…, "" for an image of no registry) of `props["image"]` on the node, which has
    it then. `props`: stack, image, connection. Raises NotPrepared with the reason of a pull that failed.
    """
    connection = Connection.from_props(props["connection"])
    session = shell(connection)
    args = {
        **_args(props),
        "job": hashlib.sha256(str(props["image"]).encode()).hexdigest()[:16],
        "stall": STALL_S,
        "limit": LIMIT_S,
        "settle": SETTLE_S,
    }
    for _ in range(ROUNDS):
        found = jobs.call(session, connection.host, MODULES, "start", args, TODO)
        if found["digest"] is not None:
            if found["problem"]:
                status = {"kind": "platform", "error": found["problem"]}
                raise image_pull.failure(connection.host, props["image"], status)
            return str(found["digest"])
        try:
            _watch(session, connection.host, props, say)
        except _Lost:
            continue
    raise NotReady(
        f"{connection.host}: the pull of {props['image']} ended {ROUNDS} times without a word. {TODO}"
    )


def missing(props: Mapping[str, Any], shell: Callable[[Connection], Shell] = SshShell) -> str:
    """What a refresh finds: "" where the image is there."""
    connection = Connection.from_props(props["connection"])
    found = jobs.call(shell(connection), connection.host, MODULES, "look", _args(props), TODO)
    return f"{props['image']} is not there" if found["digest"] is None else ""


def end(props: Mapping[str, Any], shell: Callable[[Connection], Shell] = SshShell) -> None:
    """Stop a pull that runs, and take our records away; the image stays."""
    connection = Connection.from_props(props["connection"])
    jobs.call(shell(connection), connection.host, MODULES, "end", _args(props), TODO)


def _args(props: Mapping[str, Any]) -> dict[str, Any]:
    return {"stack": short(props["stack"]), "image": props["image"], "socket": SOCKET}


def _watch(session: Shell, host: str, props: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Wait for the job's end; its folder is gone when it is done. Raises its failure, or _Lost."""
    folder = '"${TMPDIR:-/tmp}/trtspark-pull-$(id -u)-"' + shlex.quote(short(props["stack"]))
    command = jobs.status_command(folder)
    progress = Progress([host])
    beat, heard, said = None, time.monotonic(), 0.0
    while True:
        try:
            result = session.run(command, timeout=jobs.CALL_TIMEOUT_S)
            if result.code:
                raise _Lost
            status = node.answer(result.out)
        except (Unreachable, ValueError):
            status = {}
        now = time.monotonic()
        if status.get("state") == "failed":
            failed = image_pull.failure(host, props["image"], status)
            end(props, lambda _: session)
            raise failed
        if status and status.get("beat") != beat:
            beat, heard = status.get("beat"), now
        if now - heard > jobs.SILENCE_S:
            raise _Lost
        if status and now - said > SAY_EVERY_S:
            said = now
            say(image_pull.line(progress, now, host, status))
        time.sleep(PAUSE_S)
