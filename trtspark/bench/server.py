"""Asking a server what it serves and which fields it takes, before anything is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from cluster.errors import ConfigError, NotReady
from remote import web
from trtspark.bench.load import CHAT
from trtspark.bench.stream import Connections, Target

TIMEOUT_S = 10
#: Fields of a request that are the engine's own, in the order in which they are given up.
OPTIONAL = ("ignore_eos", "stream_options")
_REFUSED = ("http 400", "http 422")


def target(url: str, key: str = "") -> Target:
    """The server's base URL, with or without /v1. `key` is secret. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url: found {url!r}; it may be like http://192.168.1.11:8355")
    if parts.username or parts.password:
        raise ConfigError("--url: it holds a name or password, which would be kept. Use --key-env.")
    base = url.rstrip("/").removesuffix("/v1")
    return Target(base, {"Authorization": f"Bearer {key}"} if key else {})


def models(where: Target) -> list[str]:
    """The ids of /v1/models. Raises NotReady with what the server said."""
    try:
        answer = web.get(f"{where.url}/v1/models", TIMEOUT_S, where.headers)
    except requests.RequestException as error:
        raise NotReady(
            f"{where.url} does not answer ({_cause(error)}). Is the server up? `trtspark status` tells."
        ) from None
    if not answer.ok:
        raise NotReady(
            f"{where.url}/v1/models answers HTTP {answer.status_code}. Is it an OpenAI-compatible API?"
        )
    try:
        return [str(entry["id"]) for entry in web.document(answer)["data"]]
    except (ValueError, KeyError, TypeError):
        raise NotReady(
            f"{where.url}/v1/models is no list of models. Is it an OpenAI-compatible API?"
        ) from None


def chosen(where: Target, wanted: str | None) -> str:
    """The model to ask: the one given, else the only one served. Raises ConfigError or NotReady."""
    served = models(where)
    if wanted is not None:
        if served and wanted not in served:
            raise ConfigError(f"{where.url} serves {', '.join(served)}, not {wanted}. Leave --model out?")
        return wanted
    if len(served) != 1:
        listed = ", ".join(served) or "none"
        raise ConfigError(f"{where.url} serves {len(served)} models ({listed}): choose one with --model")
    return served[0]


def version(where: Target) -> str | None:
    """What the engine calls itself at /version; None where there is no such page."""
    try:
        answer = web.get(f"{where.url}/version", TIMEOUT_S, where.headers)
        found = web.document(answer)["version"] if answer.ok else None
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None
    return str(found) if found else None


@dataclass(frozen=True)
class Agreement:
    """A request that the server takes: what had to be left out of it."""

    left_out: tuple[str, ...]

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body without those."""
        return {name: value for name, value in body.items() if name not in self.left_out}

    def notes(self) -> list[str]:
        """What a reader of the figures has to know."""
        found = []
        if "ignore_eos" in self.left_out:
            found.append("the server does not know ignore_eos: answers may end before their full length")
        if "stream_options" in self.left_out:
            found.append("the server does not know stream_options: it sends no usage")
        return found


async def agree(where: Target, body: Mapping[str, Any], timeout: float) -> Agreement:
    """Ask once for real; where a field is refused, ask without it. Raises NotReady with what it said.

    `timeout` in seconds, for each question.
    """
    connections = Connections(where)
    first = ""
    try:
        for left_out in _ladder(body):
            asked = Agreement(left_out)
            answer = await connections.ask(CHAT, asked.apply(body), timeout)
            if not answer.error and answer.tokens:
                return asked
            first = first or f"{answer.error or 'empty'}: {answer.detail or 'an answer without a token'}"
            if answer.error not in _REFUSED:
                break
    finally:
        connections.close()
    raise NotReady(f"{where.url} does not answer a request for {body['model']} ({first}).")


def _ladder(body: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    there = [name for name in OPTIONAL if name in body]
    return [tuple(there[:count]) for count in range(len(there) + 1)]


def agreed(where: Target, body: Mapping[str, Any], timeout: float) -> Agreement:
    """`agree`, from outside of a loop."""
    return asyncio.run(agree(where, body, timeout))


def _cause(error: Exception) -> str:
    if isinstance(error, web.TooLong):
        return str(error)
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
