"""Listeners on the fabric against hosts without the key, and against a system that has nothing left."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote.node import door, link_test
from remote.node.weights_hub import Broken
from remote.node.weights_peer import Reader, Server

KEY, CONTENT = b"k" * 32, bytes(range(256)) * 40
HOST = "127.0.0.1"


class Peer:
    """A server of one file, as on a node, and a reader of it."""

    def __init__(self, folder: Path, listener: Any = None, **more: Any) -> None:
        self.path = folder / "file"
        self.path.write_bytes(CONTENT)
        self.listener = listener or socket.create_server((HOST, 0), backlog=door.BACKLOG)
        self.to = self.listener.getsockname()
        self.finished: list[int] = []
        self.failed: list[BaseException] = []
        self.entry: Callable[[int], Any] = lambda _: (
            (lambda: self.path),
            (lambda *_: len(CONTENT)),
            len(CONTENT),
        )
        Server(
            [self.listener],
            KEY,
            lambda number: self.entry(number),
            lambda *_: None,
            self.finished.append,
            self._guarded,
            **more,
        )

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:
            self.failed.append(error)

    def read(self, own: str = HOST, end: int = len(CONTENT)) -> bytes:
        got = bytearray()
        reader = Reader([(own, "", *self.to)], KEY, 0, 1, timeout=2)
        reader.read({"number": 0}, 0, end, lambda block, _: got.extend(block), lambda: None)
        reader.finish()
        return bytes(got)


@pytest.fixture
def strangers() -> Iterator[Callable[..., list[socket.socket]]]:
    made: list[socket.socket] = []

    def connect(to: tuple[str, int], count: int, own: str = "127.0.0.9") -> list[socket.socket]:
        made.extend(socket.create_connection(to, 2, (own, 0)) for _ in range(count))
        return made[-count:]

    yield connect
    for one in made:
        one.close()


class Failing:
    """A listener whose `accept` fails as told, then goes on."""

    def __init__(self, *codes: int) -> None:
        self.inner = socket.create_server((HOST, 0), backlog=door.BACKLOG)
        self.codes = list(codes)
        self.getsockname = self.inner.getsockname

    def accept(self) -> Any:
        if self.codes:
            code = self.codes.pop(0)
            raise OSError(code, os.strerror(code))
        return self.inner.accept()


@pytest.mark.parametrize("code", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EPROTO", "EPERM"])
def test_an_accept_that_fails_is_not_the_last_one(code, tmp_path):
    peer = Peer(tmp_path, Failing(getattr(errno, code), getattr(errno, code)))
    assert peer.read() == CONTENT


def test_bytes_that_a_file_does_not_have_end_the_connection(tmp_path):
    peer = Peer(tmp_path)
    with pytest.raises(Broken, match="the connection ended"):
        peer.read(end=len(CONTENT) + 1)
    assert peer.read() == CONTENT


def test_a_listener_that_is_closed_is_the_end():
    listener = socket.create_server((HOST, 0))
    listener.close()
    door.Door(lambda *_: None, lambda *_: None).accept(listener)


def test_a_thread_that_cannot_be_started_is_tried_again(tmp_path, monkeypatch):
    peer, start, refused = Peer(tmp_path), threading.Thread.start, []

    def once(thread: threading.Thread) -> None:
        if len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", once)
    assert peer.read() == CONTENT
    assert len(refused) == 2


def test_no_thread_at_all_costs_the_connection_and_not_the_listener(tmp_path, monkeypatch):
    peer = Peer(tmp_path)
    with monkeypatch.context() as patch:

        def never(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", never)
        with pytest.raises(Broken):
            peer.read()
    assert peer.read() == CONTENT


def test_strangers_that_say_nothing_do_not_keep_a_peer_out(tmp_path, strangers):
    """The shown case: more of them than may wait."""
    peer = Peer(tmp_path)
    held = strangers(peer.to, door.STRANGERS + 20)
    assert peer.read() == CONTENT
    held[0].settimeout(2)
    assert ends(held[0]), "the oldest is still there"


def test_strangers_of_one_address_cost_only_each_other(strangers):
    """A peer that waits for a slow greeting stays while another host knocks."""
    listener = socket.create_server((HOST, 0), backlog=door.BACKLOG)
    entrance = door.Door(
        lambda connection, until: door.exactly(connection, 1, until), served := Served(), 5, 4
    )
    entrance.open(listener)
    with socket.create_connection(listener.getsockname(), 2, (HOST, 0)) as peer:
        until(lambda: len(entrance.waiting) == 1)
        strangers(listener.getsockname(), 12)
        peer.sendall(b"x")
        until(lambda: served.guests == [b"x"])
    assert len(entrance.waiting) <= 4


class Served:
    """What got through."""

    def __init__(self) -> None:
        self.guests: list[bytes] = []

    def __call__(self, _: socket.socket, guest: bytes) -> None:
        self.guests.append(guest)


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes it, whatever it has sent before."""
    try:
        while connection.recv(1 << 10):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("step", [b"", b"x"])
def test_a_greeting_has_a_deadline_also_where_it_trickles(step, tmp_path, strangers):
    (stranger,) = strangers(Peer(tmp_path, greeting_s=0.1).to, 1)
    stranger.settimeout(0.02)
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        try:
            stranger.sendall(step)
            while stranger.recv(64):
                pass
            break
        except TimeoutError:
            continue
        except OSError:
            break
    assert time.monotonic() - begun < 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.binary(max_size=80))
def test_nothing_a_stranger_says_is_served(said, tmp_path):
    peer = Peer(tmp_path, greeting_s=0.05)
    with socket.create_connection(peer.to, 2) as stranger:
        assert len(stranger.recv(32)) == 32
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(2)
        with suppress(ConnectionResetError):
            assert stranger.recv(64) == b""
    assert peer.read() == CONTENT
    assert not peer.failed
    peer.listener.close()


def test_what_nobody_expected_of_a_thread_that_serves_is_told(tmp_path):
    peer = Peer(tmp_path)
    peer.entry = lambda _: 1 / 0
    with pytest.raises(Broken):
        peer.read()
    until(lambda: [type(one) for one in peer.failed] == [ZeroDivisionError])


def test_the_cables_test_goes_on_after_strangers(strangers, monkeypatch):
    """Its receiver, as its own process runs it."""
    for name in ("setsid", "dup2"):
        monkeypatch.setattr(os, name, lambda *_: None)
    monkeypatch.setattr(link_test.signal, "alarm", lambda _: None)
    listener, token = Failing(errno.EMFILE, errno.EMFILE), "t" * link_test.TOKEN_CHARS
    serving = threading.Thread(
        target=link_test.serve,
        args=([listener], [], token.encode(), {"deadline_s": 9, "connections": 1}),
        daemon=True,
    )
    serving.start()
    strangers(listener.getsockname(), door.STRANGERS + 10)
    to = {"from": HOST, "to": HOST, "port": listener.getsockname()[1], "token": token}
    assert link_test.send({**to, "streams": 1, "seconds": 0.02})["gbps"] > 0
    serving.join(5)
    assert not serving.is_alive()
