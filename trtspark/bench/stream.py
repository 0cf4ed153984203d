"""One streamed request at a time per connection, every token stamped when its bytes arrive.

Below aiohttp on purpose: 64 streams of 50 tokens/s are 3,200 events a second, and what the client spends on
each is added to what it measures. httptools (uvicorn's parser) reads HTTP, orjson the events; the stamp is
taken before either. Times are `time.perf_counter_ns()`.
"""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import orjson

#: A single event larger than this is no token.
MAX_EVENT_BYTES = 16 << 20


@dataclass(slots=True)
class Answer:
    """What became of one request. Times in nanoseconds of the client's clock; 0: it did not happen.

    `started` is when the request was handed over, before a connection was there or made. `tokens` are the
    arrivals of every piece with content or reasoning in it. `error` is "" or the kind: "http 429",
    "timeout", "connection", "protocol", "cut", "server", "cancelled".
    """

    started: int = 0
    ended: int = 0
    tokens: array[int] = field(default_factory=lambda: array("q"))
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""
    error: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Target:
    """Where requests go: an OpenAI-compatible server's base URL, without /v1, and more headers."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For https, checked against the system's authorities."""
        return ssl.create_default_context() if urlsplit(self.url).scheme == "https" else None

    def request(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The bytes of a POST."""
        content = orjson.dumps(body)
        parts = urlsplit(self.url)
        lines = [
            f"POST {parts.path.rstrip('/')}{path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Connection(asyncio.Protocol):
    """A kept-alive connection that carries one request after another."""

    def __init__(self) -> None:
        """Made by `Connections`."""
        self.transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] | None = None
        self.answer = Answer()
        self.usable = False
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._stamp = 0
        self._events = False
        self._finished = False

    async def ask(self, request: bytes, answer: Answer) -> None:
        """Send the request, and return when its answer is whole or broken: see `answer.error`."""
        assert self.transport is not None
        self.answer, self._rest, self._events, self._finished = answer, b"", True, False
        self._parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self.done

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        # uvloop's transports are not of asyncio's class.
        self.transport, self.usable = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        """Stamp first, understand after."""
        self._stamp = perf_counter_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end("protocol", str(error))
        except (ValueError, LookupError, TypeError) as error:
            self._end("protocol", f"an event that is no answer: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        """Before its end an answer is cut."""
        self.usable = False
        self._end("cut", str(error or "the server closed the connection"))

    def close(self) -> None:
        """Not to be used again."""
        self.usable = False
        if self.transport is not None:
            self.transport.abort()

    # httptools' side

    def on_headers_complete(self) -> None:
        """An error's body is text, not events."""
        self._events = self._parser.get_status_code() == 200

    def on_body(self, body: bytes) -> None:
        """Whole events, one after the other; what is left waits for the next piece."""
        data = self._rest + body if self._rest else body
        if not self._events:
            self._rest = data[:2000]
            return
        *lines, rest = data.split(b"\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES >> 20} MiB")
        self._rest = rest
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())

    def on_message_complete(self) -> None:
        """The answer's end; `[DONE]` must have come before."""
        keep = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        if status != 200:
            self._end(f"http {status}", self._rest.decode(errors="replace").strip())
        elif not self._finished:
            self._end("cut", "the stream ended without [DONE]")
        else:
            self._end("", "")
        if not keep:
            self.close()

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._finished = True
            return
        event = orjson.loads(data)
        if "error" in event:
            self.answer.error, self.answer.detail = "server", str(event["error"])[:500]
            return
        usage = event.get("usage")
        if usage:
            self.answer.prompt_tokens = usage.get("prompt_tokens") or 0
            self.answer.output_tokens = usage.get("completion_tokens") or 0
        for choice in event.get("choices") or ():
            delta = choice.get("delta")
            if delta is None:
                said = choice.get("text")
            else:
                said = (
                    delta.get("content")
                    or delta.get("reasoning_content")
                    or delta.get("reasoning")
                    or delta.get("tool_calls")
                )
            if said:
                self.answer.tokens.append(self._stamp)
            if choice.get("finish_reason"):
                self.answer.finish_reason = choice["finish_reason"]

    def _end(self, error: str, detail: str) -> None:
        if self.done is None or self.done.done():
            return
        answer = self.answer
        answer.ended = self._stamp if not error else perf_counter_ns()
        if error and not answer.error:
            answer.error, answer.detail = error, detail[:500]
        if error and not error.startswith("http"):
            self.close()
        self.done.set_result(None)


class Connections:
    """Kept-alive connections to one server, as many as there are requests at once."""

    def __init__(
        self,
        target: Target,
        connect_timeout: float = 10,
        connection: Callable[[], Connection] = Connection,
    ) -> None:
        """`connect_timeout` in seconds."""
        self.target, self.connect_timeout, self._make = target, connect_timeout, connection
        self._tls = target.tls
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._given_up = False

    async def ask(self, path: str, body: Mapping[str, Any], timeout: float) -> Answer:
        """One request; never raises for what the server or the network does. `timeout` in seconds."""
        request = self.target.request(path, body)
        answer = Answer(started=perf_counter_ns())
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connection()
                self._busy.add(connection)
                if not self._given_up:
                    await connection.ask(request, answer)
        except TimeoutError:
            answer.error, answer.detail = "timeout", f"no end within {timeout:g} s"
        except OSError as error:
            answer.error, answer.detail = "connection", str(error)
        finally:
            answer.ended = answer.ended or perf_counter_ns()
            if self._given_up and answer.error in ("", "cut") and not answer.finish_reason:
                answer.error, answer.detail = "cancelled", "given up on request"
            if connection is not None:
                self._busy.discard(connection)
                if answer.error in ("", "server") or answer.error.startswith("http"):
                    self._keep(connection)
                else:
                    connection.close()
        return answer

    def give_up(self) -> None:
        """End what runs now: its answers are "cancelled"."""
        self._given_up = True
        for connection in list(self._busy):
            connection.close()

    async def open(self, count: int) -> None:
        """Connect ahead, so that no first request pays for it. Raises OSError or TimeoutError."""
        fresh = await asyncio.gather(*(self._dial() for _ in range(count - len(self._idle))))
        self._idle += fresh

    def close(self) -> None:
        """End them all."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._dial()

    async def _dial(self) -> Connection:
        host, port = self.target.address
        async with asyncio.timeout(self.connect_timeout):
            _, connection = await asyncio.get_running_loop().create_connection(
                self._make, host, port, ssl=self._tls
            )
        return connection

    def _keep(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)
