"""The Docker API's version is agreed on with every engine there is."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from remote.engine import client, negotiated


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),  # Docker 20.10
        ("1.48", "1.24", "1.44"),  # 28
        ("1.53", "1.44", "1.44"),  # 29.0 to 29.2
        ("1.56", "1.40", "1.44"),  # 29.3 and later
        ("1.60", "1.50", "1.50"),  # one to come
        ("1.41", "", "1.41"),
    ],
)
def test_what_both_know(newest, oldest, spoken):
    assert negotiated(newest, oldest) == spoken


@contextmanager
def engine(path: Path, newest: str, oldest: str) -> Iterator[list[str]]:
    """Answers /version, and /info within its versions; anything older or newer is refused as Docker does."""
    asked: list[str] = []

    def number(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(".")))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            first, _, _rest = self.path.lstrip("/").partition("/")
            version = first.removeprefix("v") if first.startswith("v1.") else ""
            if version and not number(oldest) <= number(version) <= number(newest):
                return self.answer(400, {"message": f"client version {version} is not supported"})
            return self.answer(200, {"ApiVersion": newest, "MinAPIVersion": oldest, "ID": "engine"})

        def answer(self, code: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("newest", "oldest"), [("1.41", "1.12"), ("1.56", "1.44"), ("1.56", "1.40")])
def test_an_engine_that_refuses_other_versions_is_understood(tmp_path, newest, oldest):
    with engine(tmp_path / "docker.sock", newest, oldest) as asked:
        found = client(str(tmp_path / "docker.sock"))
        assert found.info()["ID"] == "engine"
        found.close()
    assert asked[-1] == f"/v{negotiated(newest, oldest)}/info"
