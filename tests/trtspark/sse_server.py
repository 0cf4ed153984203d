"""A server with known timing: the truth that the benchmark's client is held against.

Raw asyncio, so that it costs little: tokens are due at first + n * gap after the request's last byte, and
each piece carries the moment at which it was really written (`sent`, perf_counter_ns, same machine).

In a process of its own: `python -m tests.trtspark.sse_server '{"first": 0.2, "gap": 0.02}'` prints its URL.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass
class Behaviour:
    """How it answers. `fault`: "", or what goes wrong on every request whose number `faulty` accepts."""

    first: float = 0.05
    gap: float = 0.01
    tokens: int = 20
    per_piece: int = 1
    usage: bool = True
    fault: str = ""
    faulty: Callable[[int], object] = field(default=lambda _number: True)
    refuse: tuple[str, ...] = ()  # fields of a request that it does not know: HTTP 400
    obey: bool = False  # answer with as many tokens as asked for
    served: tuple[str, ...] = ("m",)  # what /v1/models lists
    metrics: tuple[object, ...] = ()  # what /metrics gives, once
    requests: int = 0
    connections: int = 0
    most_at_once: int = 0
    now: int = 0


def _piece(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def _event(body: object) -> bytes:
    return _piece(b"data: " + json.dumps(body).encode() + b"\n\n")


def _delta(**delta: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {**CHUNK, "choices": [choice], "sent": time.perf_counter_ns()}


CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "m"}
#: For those who do not stream: warm-ups of other tools.
ANSWER = {
    **CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Server:
    def __init__(self, how: Behaviour) -> None:
        self.how = how
        self.url = ""
        self.bodies: deque[dict[str, Any]] = deque(maxlen=100)

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
        if head.startswith(b"GET "):
            return self.page(writer, head.split(b" ")[1].decode())
        if b"content-length:" not in head.lower():
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return False
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = orjson.loads(await reader.readexactly(length))
        begun = time.perf_counter()
        how = self.how
        self.bodies.append(body)
        if known := [name for name in how.refuse if name in body]:
            return self.whole(writer, "400 Bad Request", {"error": f"Unrecognized argument: {known[0]}"})
        if not body.get("stream"):
            return self.whole(writer, "200 OK", ANSWER)
        number, how.requests = how.requests, how.requests + 1
        how.now += 1
        how.most_at_once = max(how.most_at_once, how.now)
        try:
            tokens = body["max_tokens"] if how.obey else how.tokens
            return await self.answer(writer, begun, tokens, how.fault if how.faulty(number) else "")
        finally:
            how.now -= 1

    def page(self, writer: asyncio.StreamWriter, path: str) -> bool:
        if path == "/v1/models":
            return self.whole(writer, "200 OK", {"data": [{"id": name} for name in self.how.served]})
        if path == "/version":
            return self.whole(writer, "200 OK", {"version": "1.2"})
        if path == "/book":
            return self.whole(writer, "200 OK", "time hand year water people house " * 20_000)
        if path == "/metrics":
            items, self.how.metrics = self.how.metrics, ()
            return self.whole(writer, "200 OK", list(items))
        return self.whole(writer, "404 Not Found", {})

    @staticmethod
    def whole(writer: asyncio.StreamWriter, status: str, answer: object) -> bool:
        content = json.dumps(answer).encode()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        return True

    async def answer(self, writer: asyncio.StreamWriter, begun: float, tokens: int, fault: str) -> bool:
        how = self.how
        if fault == "busy":
            return self.whole(writer, "429 Busy", {"error": "too many"})
        if fault == "hang":
            await asyncio.sleep(60)
        writer.write(HEAD + _event(_delta(role="assistant")))
        for number in range(0, tokens, how.per_piece):
            pause = begun + how.first + number * how.gap - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            if fault == "cut" and number >= tokens // 2:
                return False
            writer.write(_event(_delta(content="word " * how.per_piece)))
        if fault == "error":
            writer.write(_event({"error": {"message": "the engine died"}}))
        if how.usage:
            usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
            writer.write(_event({**CHUNK, "choices": [], "usage": usage}))
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


@contextmanager
def threaded(how: Behaviour) -> Iterator[Server]:
    """The server in a thread with a loop of its own, for commands that block."""
    ready, done = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with serving(how) as server:
            found.extend((server, asyncio.get_running_loop()))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield found[0]
    finally:
        found[1].call_soon_threadsafe(done.set)
        thread.join()


@contextmanager
def apart(how: Behaviour) -> Iterator[str]:
    """The server in a process of its own; its URL."""
    values = {name: value for name, value in asdict(how).items() if name != "faulty"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.trtspark.sse_server", json.dumps(values)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    import uvloop

    async def alone() -> None:
        async with serving(Behaviour(**json.loads(sys.argv[1]))) as server:
            print(server.url, flush=True)
            await asyncio.Event().wait()

    uvloop.run(alone())
