"""A pull of the serving image in words: how far it is, and what to do when it fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cluster.errors import NodeError, NotPrepared
from cluster.image_name import parsed
from cluster.registry import SAID_LETTERS, one_line
from cluster.weights_progress import Progress

AGAIN = "Then run `pulumi up` again."
_AROUND = re.compile(r'failed to (resolve reference|do request|copy)( ".*?")?: |(Head|Get) ".*?": ')
_ONCE_MORE = "Run `pulumi up` again once it answers."
#: Kind of failure (remote/node/pull_agent.py) -> (what was found, what to do). {said} are Docker's or the
#: registry's own words.
_REASONS: Mapping[str, tuple[str, str]] = {
    "login": (
        "{registry} refuses {image} to this node ({said}).",
        "Check the name; where it needs a login, run there `docker login {registry}`. " + AGAIN,
    ),
    "missing": (
        "{registry} has no {image} ({said}).",
        "Check the setting image: its name and its tag or digest.",
    ),
    "platform": (
        "{image} is not for this machine ({said}).",
        "Set image to a release with a build for arm64.",
    ),
    "tls": (
        "Docker does not trust the certificate of {registry} ({said}).",
        "Put its CA there as /etc/docker/certs.d/{registry}/ca.crt, and check the node's clock. " + AGAIN,
    ),
    "rate": (
        "{registry} allows no more pulls for now ({said}).",
        "Wait as it says, or run there `docker login {registry}`: a login has a limit of its own. " + AGAIN,
    ),
    "space": (
        "the disk became full while {image} was pulled ({said}).",
        "Make room on Docker's disk (`docker system df` says what can go). " + AGAIN,
    ),
    "room": (
        "{image} does not fit: {said}.",
        "Make room on Docker's disk (`docker system df` says what can go). " + AGAIN,
    ),
    "address": (
        "the name of {registry} cannot be resolved ({said}).",
        "Check the setting image, and the node's DNS. " + AGAIN,
    ),
    "network": (
        "the pull of {image} broke ({said}).",
        "Check the node's way to {registry} (a proxy is set for Docker's own service). " + _ONCE_MORE,
    ),
    "stalled": (
        "the pull of {image} stands still: {said}.",
        "Check the node's way to {registry}. Then run `pulumi up` again: whole layers need not come twice.",
    ),
    "docker": ("{said}.", "Check there `docker version`. " + AGAIN),
    "other": ("{image} cannot be pulled ({said}).", "Try there `docker pull {image}`. " + AGAIN),
}


def failure(host: str, image: str, status: Mapping[str, Any]) -> NodeError:
    """What a failed job's status means for the user."""
    found, todo = _REASONS.get(str(status.get("kind")), _REASONS["other"])
    said = _cause(str(status.get("error") or "no reason given"))
    values = {"image": image, "registry": parsed(image).registry, "said": said}
    return NotPrepared(host, found.format(**values), todo.format(**values))


def _cause(said: str) -> str:
    """Docker's text without the names of what it asked for, which the message has already; its end counts."""
    text = _AROUND.sub("", said)
    if len(text) > SAID_LETTERS:
        text = "…" + text[-SAID_LETTERS + 1 :]
    return one_line(text).rstrip(".")


def line(progress: Progress, now: float, host: str, status: Mapping[str, Any]) -> str:
    """How far a node's pull is, as its resource's row shows it. `progress` was made for this host alone."""
    done, size, unpacked = (int(status.get(key) or 0) for key in ("bytes", "size", "unpacked"))
    note = f" [{one_line(str(status['note']))}]" if status.get("note") else ""
    if size and done >= size:
        share = f", {100 * unpacked // size} %" if unpacked else ""
        return f"{host}: {size / 1e9:.2f} GB are there, being unpacked{share}{note}"
    if size:
        return progress.line(now, {0: status})
    if done:
        return f"{host}: {done / 1e9:.2f} GB{note}"
    return f"{host}: the registry is asked{note}"
