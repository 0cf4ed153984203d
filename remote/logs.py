"""Reading rank 0's log on the head, of the container that runs and of those that ended before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

from cluster.errors import TrtSparkError
from cluster.live.seen import seconds
from cluster.swarm_plan import RANK_LABEL, STACK_LABEL
from remote import limited

POLL_S = 0.5


@dataclass(frozen=True)
class Container:
    """One start of rank 0. `created` in seconds since the epoch; `code` None while it runs."""

    id: str
    created: float
    running: bool
    code: int | None = None


def containers(client: Any, stack: str, rank: int = 0) -> list[Container]:
    """A rank's containers that its node still has, the newest first."""
    labels = [f"{STACK_LABEL}={stack}", f"{RANK_LABEL}={rank}"]
    found = []
    for entry in client.containers(all=True, filters={"label": labels}):
        running = entry["State"] == "running"
        code = None if running else client.inspect_container(entry["Id"])["State"].get("ExitCode")
        found.append(Container(entry["Id"], float(entry["Created"]), running, code))
    return sorted(found, key=lambda one: (one.running, one.created), reverse=True)


def read(client: Any, container: str, tail: int | None = None, since: float | None = None) -> list[str]:
    """The log of one container: its last `tail` lines (None: all), from `since` (epoch) on."""
    raw = client.logs(container, tail="all" if tail is None else tail, **_since(since))
    return [_shown(line) for line in raw.decode(errors="replace").split("\n") if line]


@dataclass(frozen=True)
class Switched:
    """The server's container is another one now; `code`: how the one before ended (None: not known)."""

    container: str
    code: int | None


def follow(
    client: Any,
    stack: str,
    tail: int | None = None,
    since: float | None = None,
    poll: float = POLL_S,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[str | Switched]:
    """Lines as they come, for ever (until `stop`), from one container after the other; a Switched between.

    Where nothing runs yet, it waits for it.
    """
    seen: Container | None = None
    last = ""
    while not stop():
        current = next((one for one in containers(client, stack) if one.running), None)
        if current is None or (seen and current.id == seen.id and not current.running):
            time.sleep(poll)
            continue
        if seen and current.id != seen.id:
            yield Switched(current.id, _code(client, seen.id))
            tail, since, last = None, None, ""
        seen, known = current, last
        try:
            for stamp, text in _stream(client, current.id, tail, since):
                if stamp > known:
                    yield text
                    last = stamp
        except (
            requests.RequestException,
            TrtSparkError,
        ):  # the container has gone, or the connection; look again
            pass
        if last:  # where the stream ended under us, go on after the last line
            tail, since = None, seconds(last)
        time.sleep(poll)


def _stream(client: Any, container: str, tail: int | None, since: float | None) -> Iterator[tuple[str, str]]:
    """(Docker's time stamp, line) of a container that runs, until it ends."""
    pieces = client.logs(
        container,
        stream=True,
        follow=True,
        timestamps=True,
        tail="all" if tail is None else tail,
        **_since(since),
    )
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield _stamped(line)
        rest = rest[: limited.MOST_LINE]  # of a line without an end, its beginning
    if rest:
        yield _stamped(rest)


def _stamped(raw: bytes) -> tuple[str, str]:
    stamp, _, text = raw.decode(errors="replace").partition(" ")
    return stamp, _shown(text)


def _shown(line: str) -> str:
    """Of a progress bar that draws itself over and over, the last state."""
    return line.rstrip("\r").rpartition("\r")[2]


def _since(since: float | None) -> dict[str, float]:
    return {} if since is None else {"since": float(since)}


def _code(client: Any, container: str) -> int | None:
    try:
        state = client.inspect_container(container)["State"]
    except (requests.RequestException, TrtSparkError):
        return None
    return None if state.get("Running") else state.get("ExitCode")
