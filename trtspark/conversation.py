"""Asking the endpoint as it streams: pieces of an answer, and how long they took. Plain requests.

The engine's events are OpenAI's chat completion chunks; reasoning comes as `reasoning_content` or, in newer
versions, `reasoning`.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from cluster.errors import TrtSparkError
from cluster.plain_text import UNSAFE, plain
from remote import web
from remote.node import untrusted

#: Seconds to connect, and between two pieces: a long prompt is read for a while before the first.
TIMEOUTS = (5.0, 300.0)
#: An event has some hundred bytes, an error some thousand.
EVENT_BYTES, ERROR_BYTES = 4 << 20, 1 << 20


class AskFailed(TrtSparkError):
    """The endpoint did not answer, or not to the end; one sentence for what was found, one for what to do."""


@dataclass
class Timing:
    """When an answer's pieces came, in seconds of the monotonic clock; tokens by the server's own count."""

    asked: float = 0.0
    first: float = 0.0
    last: float = 0.0
    pieces: int = 0
    tokens: int = 0

    def piece(self, now: float) -> None:
        """One more piece came."""
        self.first = self.first or now
        self.last = now
        self.pieces += 1

    def line(self) -> str:
        """ "0.21 s to the first token, 41 tokens, 38.2 tokens/s"; "" when nothing came."""
        if not self.pieces:
            return ""
        count = self.tokens or self.pieces
        text = f"{self.first - self.asked:.2f} s to the first token, {count} tokens"
        # The first one's time is the prompt's.
        if count > 1 and self.last > self.first:
            text += f", {(count - 1) / (self.last - self.first):.1f} tokens/s"
        return text


@dataclass(frozen=True)
class Piece:
    """Some words of an answer, or of the reasoning before it."""

    text: str
    reasoning: bool = False


def ask(
    url: str, model: str, messages: Sequence[dict[str, str]], timing: Timing, **more: Any
) -> Generator[Piece, None, None]:
    """The pieces of one answer as they arrive. `url` without /v1; `more`: other keys of the request.

    Raises AskFailed. Closing the iterator ends the request, and the engine stops generating.
    """
    options = {"include_usage": True}
    body = {"model": model, "messages": list(messages), "stream": True, "stream_options": options, **more}
    timing.asked = time.monotonic()
    try:
        with requests.post(
            f"{url}/v1/chat/completions", json=body, stream=True, timeout=TIMEOUTS
        ) as response:
            if response.status_code != 200:
                raise AskFailed(_refused(url, response))
            yield from _pieces(url, response, timing)
    except requests.Timeout:
        raise AskFailed(f"{url}: it did not answer in time. `trtspark status` shows what it does.") from None
    except requests.RequestException as error:
        raise AskFailed(_unreached(url, error)) from None


def _pieces(url: str, response: requests.Response, timing: Timing) -> Iterator[Piece]:
    for line in _lines(url, response):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        now = time.monotonic()
        try:
            pieces = list(_of_event(url, data, timing))
        except (AttributeError, TypeError, ValueError, LookupError):
            raise AskFailed(
                f"{url}: it sent an event that is no answer. Is it the TensorRT-LLM server?"
            ) from None
        for piece in pieces:
            timing.piece(now)
            yield piece
    raise AskFailed(f"{url}: the answer was cut off. `trtspark status` tells whether the server restarted.")


def _lines(url: str, response: requests.Response) -> Iterator[bytes]:
    """requests' own waits for a line's end however long it is."""
    rest = bytearray()
    for piece in web.pieces(response):
        rest += piece
        if b"\n" in piece:
            *lines, last = rest.split(b"\n")
            yield from map(bytes, lines)
            rest = last
        if len(rest) > EVENT_BYTES:
            raise AskFailed(f"{url}: it sends an event without end. Is it the TensorRT-LLM server?")
    if rest:
        yield bytes(rest)


def _of_event(url: str, data: bytes, timing: Timing) -> Iterator[Piece]:
    """Raises what Python does where it is not an answer's."""
    try:
        event = untrusted.load(data)
    except ValueError:
        raise AskFailed(f"{url}: it sent an event that is no JSON. Is it the TensorRT-LLM server?") from None
    if "error" in event:
        raise AskFailed(f"{url}: the server gave up: {_message(event)}.")
    if usage := event.get("usage"):
        timing.tokens = int(usage.get("completion_tokens") or 0)
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        for key in ("reasoning_content", "reasoning", "content"):
            if said := delta.get(key):
                # Letter by letter: a sequence may come in several pieces.
                yield Piece(UNSAFE.sub("", str(said)), reasoning=key != "content")


def _refused(url: str, response: requests.Response) -> str:
    try:
        answer = web.whole(response, TIMEOUTS[1], ERROR_BYTES)
    except requests.RequestException as error:
        return f"{url}: HTTP {response.status_code}, and {error}."
    try:
        said = _message(web.document(answer))
    except ValueError:
        said = plain(web.text(answer)).strip().split("\n")[0][:200]
    what = f"{url}: HTTP {response.status_code}: {said or response.reason}"
    todo = " `trtspark status` shows which model it serves." if response.status_code == 404 else ""
    return f"{what.rstrip('.')}.{todo}"


def _message(document: Any) -> str:
    """The sentence in an error document: OpenAI's form, or the engine's own, flat one."""
    found = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return plain(str(found)).strip().replace("\n", " ").rstrip(".")[:400]


def _unreached(url: str, error: requests.RequestException) -> str:
    text = str(error)
    if "refused" in text:
        return f"{url}: nothing listens there. `trtspark status` shows why; `pulumi up` starts it."
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"{url}: the answer was cut off. `trtspark status` tells whether the server restarted."
    return f"{url}: no connection. If it is not in reach of here: `trtspark open --tunnel` and `--url`."
