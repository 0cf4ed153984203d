"""The sockets: two addresses (the Hub, and its CDN for files in LFS), and the faults on the way out.

Threads of the standard library, because the lab needs nothing else and its bulk work is one
thread per connection that fills buffers and blocks in send.
"""

from __future__ import annotations

import collections
import contextlib
import http.server
import json
import math
import socket
import struct
import threading
import time
import uuid
from dataclasses import replace
from typing import Any

from lab.hub.access import Tokens, new_tokens, refusal
from lab.hub.answer import Answer, Request, as_json
from lab.hub.content import Given, NoBody
from lab.hub.faults import BEFORE, BadFault, Fault, Faults
from lab.hub.routes import ENCODINGS, Routes

_PIECE = 1 << 20
_SLOW_PIECES = 20.0
"""How many pieces a second a slow connection gets at least."""
_REMEMBERED = 10_000
_QUOTA = {"api": 1000, "resolvers": 5000}
_WINDOW = 300


class _Cut(Exception):
    """The connection was ended on purpose."""


class Hub:
    """The lab's Hub, serving from `start` (or `with`) to `stop`."""

    def __init__(
        self,
        tokens: Tokens | None = None,
        address: str = "127.0.0.1",
        ports: tuple[int, int] = (0, 0),
        link_seconds: float = 3600.0,
        page_size: int = 1000,
    ) -> None:
        """`ports` of the Hub and the CDN; 0 takes any.

        Raises:
            OSError: the address or a port cannot be had.
        """
        self.tokens = tokens or new_tokens()
        self.routes = Routes(self.tokens, link_seconds, page_size)
        self.faults = Faults()
        self.requests: collections.deque[dict[str, Any]] = collections.deque(maxlen=_REMEMBERED)
        self.stopping = threading.Event()
        self._servers = [
            _Server(address, port, self, cdn) for port, cdn in zip(ports, (False, True), strict=True)
        ]
        self.url, self.routes.cdn = (server.url for server in self._servers)
        self._threads: list[threading.Thread] = []

    @property
    def encodings(self) -> str:
        """The base URL of the vocabularies."""
        return f"{self.url}/{ENCODINGS}"

    def start(self) -> None:
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End all connections and free the ports."""
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, request: Request, cdn: bool) -> tuple[Answer, list[Fault], str]:
        """What to send, the faults that touch its body, and the place that answered."""
        words = request.words()
        if not cdn and words[0] == "-":
            return self._control(request, words[1:]), [], "control"
        place = "cdn" if cdn else {"api": "api", ENCODINGS: ENCODINGS}.get(words[0], "resolve")
        place = "resolve" if words[:2] == ["api", "resolve-cache"] else place
        model, file = _named(words, cdn)
        before = self.faults.take(BEFORE, place, request.method, model, file)
        for fault in before:
            if fault.kind in ("silent", "delay"):
                self.stopping.wait(fault.seconds)
                if fault.kind == "silent":
                    raise _Cut
        if any(fault.kind == "no_range" for fault in before):
            request = replace(request, headers={k: v for k, v in request.headers.items() if k != "range"})
        wrong = next((fault for fault in before if fault.kind in ("status", "rate_limit")), None)
        if wrong:
            answer = _failure(wrong, place)
        elif cdn:
            answer = self.routes.store(request)
        else:
            early = next((fault.seconds for fault in before if fault.kind == "expire"), None)
            answer = self.routes.hub(request, early)
        answer.model, answer.file = answer.model or model, answer.file or file
        if place in ("api", "resolve"):
            _add_quota(answer, place)
        body: list[Fault] = []
        if request.method == "GET" and answer.status in (200, 206):
            body = self.faults.take_body(place, answer.model, answer.file, answer.start, answer.end)
        return answer, body, place

    def _control(self, request: Request, words: list[str]) -> Answer:
        """The lab's own addresses below /-/: faults, requests, models."""
        document = json.loads(request.body) if request.body else {}
        match request.method, words:
            case "GET", ["health"]:
                return as_json({"ok": True})
            case "GET", ["faults"]:
                return as_json(self.faults.listed())
            case "POST", ["faults"]:
                try:
                    added = [self.faults.add(each) for each in _listed(document)]
                except (BadFault, TypeError) as error:
                    return refusal(400, str(error))
                return as_json([fault.public() for fault in added])
            case "DELETE", ["faults"]:
                self.faults.clear()
            case "DELETE", ["faults", number]:
                self.faults.clear(int(number))
            case "GET", ["requests"]:
                return as_json(list(self.requests))
            case "DELETE", ["requests"]:
                self.requests.clear()
            case "PATCH", ["models", organisation, name]:
                return self.routes.change(f"{organisation}/{name}", document)
            case _:
                return refusal(404, "no such address")
        return as_json({})


def _listed(document: Any) -> list[dict[str, Any]]:
    return document if isinstance(document, list) else [document]


def _named(words: list[str], cdn: bool) -> tuple[str, str]:
    """The model and the file that a path means, as far as can be told from it."""
    if cdn:
        return "/".join(words[1:3]), "/".join(words[4:])
    if words[0] == ENCODINGS:
        return ENCODINGS, "/".join(words[1:])
    if words[:2] == ["api", "resolve-cache"]:
        return "/".join(words[3:5]), "/".join(words[6:])
    if words[0] == "api":
        return "/".join(words[2:4]), ""
    return "/".join(words[:2]), "/".join(words[4:])


def _failure(fault: Fault, place: str) -> Answer:
    if fault.kind == "status":
        answer = Answer(fault.status, {"Content-Type": "text/html"}, Given(b"<html>The lab's fault.</html>"))
    else:
        answer = refusal(429, "We had to rate limit your requests.")
        bucket = "api" if place == "api" else "resolvers"
        answer.headers["RateLimit"] = f'"{bucket}";r=0;t={math.ceil(fault.left())}'
    if fault.retry_after is not None:
        answer.headers["Retry-After"] = str(fault.retry_after)
    return answer


def _add_quota(answer: Answer, place: str) -> None:
    """What is left of the quota; the lab never runs out of it by itself."""
    bucket = "api" if place == "api" else "resolvers"
    answer.headers.setdefault("RateLimit", f'"{bucket}";r={_QUOTA[bucket] - 1};t={_WINDOW}')
    answer.headers["RateLimit-Policy"] = f'"fixed window";"{bucket}";q={_QUOTA[bucket]};w={_WINDOW}'


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, hub: Hub, cdn: bool) -> None:
        self._open: set[socket.socket] = set()
        super().__init__((address, port), _Handler)
        self.hub = hub
        self.cdn = cdn
        self.url = f"http://{address}:{self.server_address[1]}"

    def server_bind(self) -> None:
        """As the base's, without the look-up of the host's name, which can take long in a lab."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection set to linger for no time is reset: no FIN may go before."""
        self._open.discard(request)
        with contextlib.suppress(OSError):
            if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _NO_LINGER:
                self.close_request(request)
                return
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away: nothing to say about it."""


_NO_LINGER = struct.pack("ii", 1, 0)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        request = Request(self.command, self.path, headers, body)
        record = {
            "time": time.time(), "method": self.command, "path": request.path, "status": 0, "sent": 0,
            "range": headers.get("range"), "token": "authorization" in headers, "faults": [],
            "client": self.client_address[0],
        }  # fmt: skip
        try:
            try:
                answer, faults, place = self.server.hub.answer(request, self.server.cdn)
            except (ValueError, KeyError) as error:
                answer, faults, place = refusal(400, f"Bad request: {error}"), [], "api"
            record |= {"status": answer.status, "place": place, "model": answer.model, "file": answer.file}
            record["faults"] = [fault.kind for fault in faults]
            if place != "control":
                self.server.hub.requests.append(record)
            self._send(request, answer, faults, record)
        except (_Cut, OSError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = do_PATCH = do_PUT = _serve  # noqa: N815 (the base's names)

    def _send(self, request: Request, answer: Answer, faults: list[Fault], record: dict[str, Any]) -> None:
        by_kind = {fault.kind: fault for fault in faults}
        end = answer.end
        if "short" in by_kind:
            end = answer.start + by_kind["short"].after
        try:
            first = answer.body.read(answer.start, min(_PIECE, end - answer.start))
            if end > answer.start and request.method != "HEAD":
                answer.body.read(end - 1, 1)
        except NoBody:
            said = b"The lab's Hub lists this file at its true size, but holds its header only."
            answer = Answer(501, {"Content-Type": "text/plain"}, Given(said))
            first, end, record["status"] = said, len(said), 501
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        trace = request.headers.get("x-amzn-trace-id", str(uuid.uuid4()))
        self.send_header("X-Request-Id", f"Root=1-{trace}")
        if answer.status != 304:
            self.send_header("Content-Length", str(end - answer.start))
        self.end_headers()
        if request.method != "HEAD" and answer.status != 304:
            self._pour(answer, first, end, by_kind, record)

    def _pour(
        self, answer: Answer, piece: bytes, end: int, faults: dict[str, Fault], record: dict[str, Any]
    ) -> None:
        """Send the body up to `end`, as its faults want it."""
        begun = time.monotonic()
        place = answer.start
        stops = [fault for kind, fault in faults.items() if kind in ("reset", "cut", "hang")]
        pace = faults.get("slow")
        size = min(_PIECE, max(int(pace.rate / _SLOW_PIECES), 1)) if pace else _PIECE
        piece = piece[:size]
        while place < end:
            sent = place - answer.start
            stop = min((fault for fault in stops if fault.after >= sent), key=lambda f: f.after, default=None)
            piece = piece or answer.body.read(place, min(size, end - place))
            if stop:
                piece = piece[: stop.after - sent]
            self.wfile.write(_corrupted(piece, place, faults.get("corrupt")))
            place += len(piece)
            record["sent"] = place - answer.start
            if stop and record["sent"] == stop.after:
                self._stop(stop)
                stops.remove(stop)
            elif pace:
                hub = self.server.hub
                due = begun + record["sent"] / pace.rate - time.monotonic()
                wait = hub.faults.turn(pace, len(piece)) if pace.shared else due
                if wait > 0 and hub.stopping.wait(wait):
                    raise _Cut
            piece = b""

    def _stop(self, fault: Fault) -> None:
        """End the connection in the fault's way; after a hang it goes on."""
        if fault.kind == "hang":
            if self.server.hub.stopping.wait(fault.seconds):
                raise _Cut
            return
        if fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        raise _Cut

    def version_string(self) -> str:
        return "lab-hub"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are at /-/requests."""


def _corrupted(piece: bytes, place: int, fault: Fault | None) -> bytes:
    if fault is None or not place <= fault.at < place + len(piece):
        return piece
    changed = bytearray(piece)
    changed[fault.at - place] ^= 0xFF
    return bytes(changed)
