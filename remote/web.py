"""HTTP answers, read to a limit and to a deadline: a server may send without end, or a byte now and then.

All that is wrong with one is an exception of requests, its body's JSON included.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3

from remote.node import untrusted
from remote.rank0 import completion

#: /metrics has some kilobytes an iteration, and keeps the last thousand of them.
MOST_BYTES = 32 << 20
_PIECE = 1 << 16


class TooLong(requests.RequestException):
    """The answer goes on beyond what any has."""


def get(
    url: str,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    session: requests.Session | None = None,
    most: int = MOST_BYTES,
) -> requests.Response:
    """The whole answer to a GET; `timeout` in seconds, for its beginning and again for all of it."""
    ask = session.get if session else requests.get
    return whole(ask(url, headers=dict(headers or {}), timeout=timeout, stream=True), timeout, most)


def post(url: str, body: Mapping[str, Any], timeout: float, most: int = MOST_BYTES) -> requests.Response:
    """The whole answer to a POST of JSON; likewise."""
    return whole(requests.post(url, json=body, timeout=timeout, stream=True), timeout, most)


def whole(answer: requests.Response, timeout: float, most: int) -> requests.Response:
    """`answer` (of a request with stream=True) with all of its body."""
    until, body = time.monotonic() + timeout, bytearray()
    for piece in pieces(answer):
        body += piece
        if len(body) > most:
            raise TooLong(f"its answer is longer than {most >> 20} MB")
        if time.monotonic() > until:
            raise requests.ReadTimeout("its answer does not end")
    answer._content, answer._content_consumed = bytes(body), True  # type: ignore[attr-defined]
    return answer


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """Its body as it comes. requests' own waits for whole chunks, or for as many bytes as were asked for."""
    try:
        while piece := answer.raw.read1(_PIECE, decode_content=True):
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from None
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from None
    finally:
        # One that was read to its end has given its connection back.
        answer.close()


def document(answer: requests.Response) -> Any:
    """The JSON that it holds; a ValueError for none, brackets without end included."""
    return untrusted.load(answer.content)


def text(answer: requests.Response) -> str:
    """The beginning of it, for completion.fault."""
    return answer.content[: completion.MOST_BYTES].decode(errors="replace")
