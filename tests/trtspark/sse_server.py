"""A server with known timing: the truth that the benchmark's client is held against.

Raw asyncio, so that it costs little: tokens are due at first + n * gap after the request's last byte, and
each piece carries the moment at which it was really written (`sent`, perf_counter_ns, same machine).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Behaviour:
    """How it answers. `fault`: "", or what goes wrong on every request whose number `faulty` accepts."""

    first: float = 0.05
    gap: float = 0.01
    tokens: int = 20
    per_piece: int = 1
    usage: bool = True
    fault: str = ""
    faulty: object = field(default=lambda _number: True)
    requests: int = 0
    connections: int = 0
    most_at_once: int = 0
    now: int = 0


def _piece(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _event(body: object) -> bytes:
    return _piece(b"data: " + json.dumps(body).encode() + b"\n\n")


def _delta(**delta: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta}], "sent": time.perf_counter_ns()}


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Server:
    def __init__(self, how: Behaviour) -> None:
        self.how = how
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.how.connections += 1
        try:
            while await self.one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        begun = time.perf_counter()
        how = self.how
        number, how.requests = how.requests, how.requests + 1
        how.now += 1
        how.most_at_once = max(how.most_at_once, how.now)
        try:
            return await self.answer(writer, begun, how.fault if how.faulty(number) else "")
        finally:
            how.now -= 1

    async def answer(self, writer: asyncio.StreamWriter, begun: float, fault: str) -> bool:
        how = self.how
        if fault == "busy":
            body = b'{"error": "too many"}'
            writer.write(b"HTTP/1.1 429 Busy\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            return True
        if fault == "hang":
            await asyncio.sleep(60)
        writer.write(HEAD + _event(_delta(role="assistant")))
        for number in range(0, how.tokens, how.per_piece):
            pause = begun + how.first + number * how.gap - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            if fault == "cut" and number >= how.tokens // 2:
                return False
            writer.write(_event(_delta(content="word " * how.per_piece)))
        if fault == "error":
            writer.write(_event({"error": {"message": "the engine died"}}))
        if how.usage:
            usage = {"prompt_tokens": 7, "completion_tokens": how.tokens, "total_tokens": 7 + how.tokens}
            writer.write(_event({"choices": [], "usage": usage}))
        writer.write(_piece(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return True


@asynccontextmanager
async def serving(how: Behaviour) -> AsyncIterator[Server]:
    """The server on a free loopback port, inside the running loop."""
    one = Server(how)
    server = await asyncio.start_server(one.handle, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
