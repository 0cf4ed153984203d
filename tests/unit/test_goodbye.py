"""Stopping under load: no client of a real uvicorn sees a connection reset."""

from __future__ import annotations

import asyncio
import socket
import sys
import types
from pathlib import Path

import pytest

from remote import rank0
from remote.rank0 import goodbye, server
from tests.load import CLIENTS, EACH, stopped

SERVER = """
import asyncio, json, socket, sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(json.loads(body)["max_tokens"]):
        await send({"type": "http.response.body", "body": b"token ", "more_body": True})
        await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": b"data: [DONE]\\n\\n"})

listening = socket.socket()
listening.bind(("127.0.0.1", int(sys.argv[1])))
config = uvicorn.Config(app, http=sys.argv[2], loop=sys.argv[3], log_level="warning")
uvicorn.Server(config).run(sockets=[listening])
"""
BARE = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def load(tmp_path: Path, words: list[str], http_parser: str, loop: str) -> dict[str, int]:
    (tmp_path / "trtllm-serve").write_text(SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [sys.executable, *words, str(tmp_path / "trtllm-serve")]
    return stopped(port, [*server, str(port), http_parser, loop])


@pytest.mark.parametrize(("http_parser", "loop"), [("h11", "asyncio"), ("httptools", "uvloop")])
def test_a_stop_under_load_resets_no_connection_and_cuts_no_answer(tmp_path, http_parser, loop):
    program = tmp_path / "rank0.pyz"
    program.write_bytes(rank0.program())
    seen = load(tmp_path, [str(program), "serve"], http_parser, loop)
    assert set(seen) <= {"answered", "closed", "refused"}, seen
    assert seen["refused"] == len(CLIENTS) * EACH
    assert seen["answered"] > len(CLIENTS) * EACH


def test_uvicorn_alone_resets_them(tmp_path):
    """The load can see it."""
    assert load(tmp_path, ["-c", BARE], "httptools", "asyncio")["reset"] > 0


def test_without_a_uvicorn_that_is_known_nothing_changes(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "uvicorn", types.ModuleType("uvicorn"))
    goodbye.teach()
    assert "uvicorn stops in its own way" in capfd.readouterr().out


def test_a_server_without_what_is_needed_stops_in_its_own_way(monkeypatch, capfd):
    class Server:
        """Of a uvicorn to come."""

        async def shutdown(self, sockets: object = None) -> str:
            return f"stopped {sockets}"

    uvicorn = types.ModuleType("uvicorn")
    uvicorn.Server = Server  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvicorn", uvicorn)
    goodbye.teach()
    assert asyncio.run(Server().shutdown(sockets=3)) == "stopped 3"
    assert "uvicorn stops in its own way" in capfd.readouterr().out


def test_half_closed_connections_are_counted_for_the_drain_alone():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as ours:
            assert len(server.clients(port)) == 1
            ours.shutdown(socket.SHUT_WR)
            assert server.clients(port) == set()
            assert len(server.clients(port, half_closed=True)) == 1
        assert server.clients(port, half_closed=True) == set()
