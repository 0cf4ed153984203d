"""A look at what runs: every node's own answer, the endpoint's, and rank 0's log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from cluster import affinity
from cluster.errors import TrtSparkError
from cluster.live import Answer, seen
from remote import node, web
from remote.rank0 import completion
from remote.ssh import Connection, Shell, SshShell

LOOK_TIMEOUT_S = 30
HTTP_TIMEOUT_S = 3
#: A rank that hangs lets a completion hang: this is long for a short one.
COMPLETION_TIMEOUT_S = 30
#: Before a plan: a server that is slower than this is busy or hangs, which only its own watch can tell.
PLAN_TIMEOUT_S = 10
#: A server that is just being started, or fails once, is asked again.
TRIES = 3
PAUSE_S = 2
LATE = "no answer in time"


def look(
    stack: str,
    image: str,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
    samples: int = 0,
) -> list[dict[str, Any]]:
    """remote/node/live.py's answer of every node, head first; {} of one that gives none (the look before
    the plan says why). `image`: as configured; `samples`: of the GPU's state.
    """
    script = node.program(live="look")

    def ask(index: int) -> dict[str, Any]:
        args = {"live": {"stack": stack, "image": image, "manager": index == 0, "samples": samples}}
        try:
            result = shell(connections[index]).run(node.command(args), stdin=script, timeout=LOOK_TIMEOUT_S)
            found: dict[str, Any] = node.answer(result.out)["live"]
        except (TrtSparkError, ValueError, KeyError):
            return {}
        return found

    with ThreadPoolExecutor(len(connections)) as pool:
        return list(pool.map(ask, range(len(connections))))


def confined(
    stack: str,
    image: str,
    connections: Sequence[Connection],
    shell: Callable[[Connection], Shell] = SshShell,
) -> list[str]:
    """A warning for each rank with threads that may not use every core; none for a node without an answer."""
    looked = zip(connections, look(stack, image, connections, shell), strict=True)
    return [
        f"{connection.host}: rank {rank}: {text}. {affinity.TODO}"
        for connection, document in looked
        for rank, text in sorted(seen.confined(document).items())
    ]


def silence(url: str) -> str:
    """Why the server there counts as dead: it does not say what it serves, or completes nothing, again and
    again. "" when it answers, and LATE when a completion alone is late: it may wait behind others.
    """
    for _ in range(TRIES - 1):
        why = _silence(url)
        if why in ("", LATE):
            return why
        time.sleep(PAUSE_S)
    return _silence(url)


def _silence(url: str) -> str:
    found = answer(url, "", complete=True, patience_s=PLAN_TIMEOUT_S)
    if found.completes:
        return ""
    return found.said if found.model else f"{found.said} to GET /v1/models"


def answer(url: str, model: str, complete: bool, patience_s: float = COMPLETION_TIMEOUT_S) -> Answer:
    """What the endpoint says; with `complete` a short completion is asked for, too, of `model` ("": of the
    one that it lists).
    """
    started = time.monotonic()
    try:
        listed = web.get(f"{url}/v1/models", HTTP_TIMEOUT_S)
        listed.raise_for_status()
        serving = str(web.document(listed)["data"][0]["id"])
    except (ValueError, LookupError, TypeError):  # requests' own error for bad JSON is a ValueError, too
        return Answer(said="it is no OpenAI API")
    except requests.RequestException as error:
        return Answer(said=_short(error))
    if not complete:
        return Answer(serving, seconds=time.monotonic() - started)
    body = completion.body(model or serving, completion.WATCH_TOKENS)
    started = time.monotonic()
    try:
        said = web.post(f"{url}/v1/chat/completions", body, patience_s)
    except requests.RequestException as error:
        return Answer(serving, _short(error), completes=False)
    if fault := completion.fault(said.status_code, web.text(said)):
        return Answer(serving, fault, completes=False)
    return Answer(serving, completes=True, seconds=time.monotonic() - started)


def _short(error: requests.RequestException) -> str:
    """requests' own sentence is a chain of class names and addresses in memory."""
    if isinstance(error, web.TooLong):
        return str(error)
    if isinstance(error, requests.Timeout):
        return LATE
    if isinstance(error, requests.ConnectionError):
        text = str(error)
        return "connection refused" if "refused" in text else "no connection"
    return f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
