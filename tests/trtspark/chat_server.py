"""An OpenAI-compatible server for the talk: what it says is told by the tests, what it was asked is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """`deltas` of every answer; `fault`: "", "cut", "event" (an error in the stream), or "HTTP CODE:TEXT"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.deltas: list[dict[str, str]] = [{"content": "Hello"}, {"content": " world"}]
        self.fault, self.pause = "", 0.0
        self.asked: list[dict] = []
        self.aborted = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        fault = self.server.fault
        if fault.startswith("HTTP"):
            code, _, said = fault.removeprefix("HTTP ").partition(":")
            body = json.dumps({"object": "error", "message": said, "code": int(code)}).encode()
            self.send_response(int(code))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._stream(fault)
        except OSError:
            self.server.aborted.set()

    def _stream(self, fault: str) -> None:
        for delta in self.server.deltas:
            self._event({"choices": [{"index": 0, "delta": delta}]})
            time.sleep(self.server.pause)
        if fault == "event":
            self._event({"error": {"message": "the executor is gone"}})
            return
        if fault == "cut":
            return
        self._event({"choices": [], "usage": {"completion_tokens": len(self.server.deltas)}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, body: dict) -> None:
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[ChatServer]:
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
