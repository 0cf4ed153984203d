"""A Hub that sends nonsense: every answer is an error with its kind, and no job says "done" early."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import NodeError, NotReady
from remote import node, weights
from remote.node import detached, weights_agent
from remote.node.stop import Stop
from remote.node.weights_hub import Broken, Hub, Patience, _redirected, number
from tests.weights import Cluster

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = {"path": "config.json", "size": 5, "digest": "a" * 40, "lfs": False}
OK = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello"


def read(url: str, token: str = "", **more: Any) -> bytes:
    got = bytearray()
    hub = Hub(url, "org/name", COMMIT, token, **more)
    hub.read(FILE, 0, 5, lambda block, _offset: got.extend(block), lambda: None)
    return bytes(got)


def headers(*lines: str, status: str = "206 Partial Content") -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {status}", *lines]) + "\r\n\r\n").encode("latin-1") + b"hello"


REDIRECT = "302 Found"
ANSWERS = {
    "an address with half a bracket": headers("Location: https://[cdn/x", status=REDIRECT),
    "an address without a host": headers("Location: https:///x", status=REDIRECT),
    "a port that is none": headers("Location: http://cdn:99999/x", status=REDIRECT),
    "a port in other digits": headers("Location: http://cdn:²/x", status=REDIRECT),
    "a file of this machine": headers("Location: file:///etc/passwd", status=REDIRECT),
    "another protocol": headers("Location: ftp://cdn/x", status=REDIRECT),
    "no address": headers(status=REDIRECT),
    "a host no resolver takes": headers(f"Location: http://{'a' * 70}.{'b' * 300}/x", status=REDIRECT),
    "spaces": headers("Location: http://cdn/a b", status=REDIRECT),
    "itself": headers("Location: /x", status=REDIRECT),
    "a pause in other digits": headers("Retry-After: ²", status="503 Busy"),
    "a pause without end": headers("Retry-After: " + "9" * 5000, status="503 Busy"),
    "a size in other digits": headers("Content-Range: bytes 0-4/¹", "Content-Length: 5"),
    "a size without end": headers("Content-Range: bytes 0-4/" + "9" * 5000, "Content-Length: 5"),
    "another size": headers("Content-Range: bytes 0-4/6", "Content-Length: 5"),
    "another range": headers("Content-Range: bytes 3-4/5", "Content-Length: 2"),
    "no range": headers("Content-Length: 5"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a status in other digits": b"HTTP/1.1 \xb2\xb2\xb2 what\r\n\r\n",
    "a chunk in no digits": headers("Transfer-Encoding: chunked", "Content-Range: bytes 0-4/5")[:-5]
    + b"xyz\r\nhello",
    "headers without end": b"HTTP/1.1 206 Partial Content\r\n" + b"X: y\r\n" * 200,
    "nothing": b"",
}  # fmt: skip


def test_a_good_answer(raw):
    assert read(raw(OK).url) == b"hello"


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_none_is_an_error_with_its_kind(raw, kind):
    with pytest.raises((Broken, Stop)):
        read(raw(ANSWERS[kind]).url, timeout=2.0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30) | st.binary(max_size=20).map(lambda data: data.decode("latin-1")))
def test_no_header_raises_anything_else(text):
    value = number(text)
    assert value is None or (value >= 0 and text.strip().isascii())
    try:
        found = _redirected("https://hub.example/a", text)
    except Broken:
        return
    assert found.startswith(("http://", "https://"))


def test_a_trickle_is_no_download(raw):
    """One byte after another keeps every time-out of a socket waiting."""
    body = OK.replace(b"Content-Length: 5", b"Content-Length: 500000").replace(b"/5\r", b"/500000\r")
    slow = raw(b"")

    def later(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(body[:-5])
            try:
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                return

    slow._answer = later  # type: ignore[method-assign]
    hub, begun = Hub(slow.url, "org/name", COMMIT, "", fill=0.3), time.monotonic()
    file = {**FILE, "size": 500_000}
    with pytest.raises(Broken):
        hub.read(file, 0, 500_000, lambda _block, _offset: None, lambda: pytest.fail("it is no arrival"))
    assert time.monotonic() - begun < 3


def test_streams_that_all_wait_for_an_answer_are_ended():
    group = weights_agent.Group([incoming()], [], Patience(stall=0.0, first=0.0))
    time.sleep(0.01)
    with pytest.raises(Stop):
        group.stuck(0.0)


def test_hashing_and_writing_is_not_being_stuck():
    one = incoming()
    group = weights_agent.Group([one], [], Patience(stall=0.0, first=0.0))
    group.patience.last -= 100
    one.hashed = 3
    group.patience.first = group.patience.stall = 50.0
    group.stuck(0.0)
    group.patience.last -= 100
    one.extents.count = one.size
    group.stuck(0.0)


def incoming() -> Any:
    return SimpleNamespace(size=5, hashed=0, whole=False, error=None, extents=SimpleNamespace(count=0))


# The job


TOKENS = {
    "two lines": "hf_secretsecretsecret\nX: y",
    "an ending": "hf_secretsecretsecret\n",
    "not ASCII": "hf_secretsecretsecret…",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_that_no_header_takes_is_named_and_shown_nowhere(raw, kind):
    with pytest.raises(Stop) as caught:
        read(raw(OK).url, TOKENS[kind])
    assert "token" in str(caught.value)
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("model", ["lab/bulk-3x4M", "lab/bulk-2x8M"])
def test_streams_that_die_fail_the_job_and_quote_nothing(tmp_path, monkeypatch, raw, model):
    """Whatever a stream raises: the job fails with the exception's type, and its text is written nowhere."""
    dying = "raise RuntimeError('hf_secretsecretsecret')\n        "
    source = node._source
    marked = "first = self.address(file)\n"
    assert marked in source("weights_hub")
    monkeypatch.setattr(
        node,
        "_source",
        lambda name: source(name).replace(marked, dying + marked) if name == "weights_hub" else source(name),
    )
    one = Cluster(tmp_path, 1, model, raw(OK).url)
    with pytest.raises(NodeError, match="RuntimeError"):
        one.ensure("hf_secretsecretsecret")
    for path in one.homes[0].rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes(), path
    assert not one.snapshot(0).exists()


def agent(tmp_path: Any, **changes: Any) -> weights_agent.Agent:
    job = {
        **{"hf_cache": str(tmp_path), "stack": "test", "model": "org/name", "commit": COMMIT},
        **{"files": [dict(FILE)], "sources": ["hub"], "hash": [], "job": "x", "key": "", "nodes": [0]},
        **{"readers": 0, "install": True, **changes},
    }
    return weights_agent.Agent(job, [])


def test_done_is_said_of_whole_files_only(tmp_path):
    with pytest.raises(Stop):
        agent(tmp_path)._account()
    one = agent(tmp_path)
    one.incoming[0].whole = True
    with pytest.raises(Stop):
        one._account()


def test_done_is_said_when_every_hash_has_its_answer(tmp_path):
    one = agent(tmp_path, sources=[None], hash=[0])
    with pytest.raises(Stop):
        one._account()
    one.bad.append(0)
    one._account()


@pytest.mark.parametrize(
    "error", [ValueError("hf_secret"), KeyError("hf_secret"), SystemExit("hf_secret"), MemoryError()]
)
def test_any_exception_of_a_thread_fails_the_job_by_its_type(tmp_path, capsys, error):
    def work() -> None:
        raise error

    one = agent(tmp_path)
    one._together([(work,), (lambda: None,)])
    assert one.state == "failed"
    assert one.stopping.is_set()
    assert type(error).__name__ in str(one.error)
    told = capsys.readouterr()
    assert "hf_secret" not in str(one.error) + told.err + told.out
    assert type(error).__name__ in told.err


def test_the_log_names_the_place_and_not_the_text(capsys):
    with pytest.raises(ValueError, match="hf_secret") as caught:
        _fail()
    detached.note(caught.value)
    told = capsys.readouterr().err
    assert "ValueError" in told
    assert "test_untrusted_hub.py:" in told
    assert "hf_secret" not in told


def test_the_operator_looks_again_after_done(tmp_path, monkeypatch):
    """A node that only says so is not believed."""
    one = Cluster(tmp_path, 1, "lab/bulk-3x4M", "http://127.0.0.1:9")
    done = {"state": "done", "bad": [], "checked": 0, "connected": True}
    monkeypatch.setattr(weights, "_watch", lambda _nodes, numbers, _say: dict.fromkeys(numbers, done))
    monkeypatch.setattr(weights.Nodes, "every", _only_looking(weights.Nodes.every))
    with pytest.raises(NotReady):
        one.ensure()


def test_hashes_that_a_node_does_not_account_for(tmp_path, monkeypatch):
    one = Cluster(tmp_path, 1, "lab/bulk-3x4M", "http://127.0.0.1:9")
    done = {"state": "done", "bad": [], "checked": 1, "connected": True}
    monkeypatch.setattr(weights, "_watch", lambda _nodes, numbers, _say: dict.fromkeys(numbers, done))
    monkeypatch.setattr(weights.Nodes, "every", _only_looking(weights.Nodes.every))
    with pytest.raises(NodeError):
        weights._run(weights.nodes_of(one.props, one.shell), {0: [0, 1]}, {}, "", one.said.append)


def _only_looking(every: Any) -> Any:
    def asked(nodes: Any, entry: str, args: Any) -> Any:
        if entry == "look":
            return every(nodes, entry, args)
        return {number: {"running": False, "ports": []} for number in args}

    return asked


def test_nothing_takes_isdigit_for_a_number():
    """It is true of "²", which int() refuses."""
    root = Path(__file__).parents[2]
    packages = ("cluster", "components", "dynamic_providers", "lab", "plugins", "remote", "trtspark")
    texts = {path: path.read_text("utf-8") for name in packages for path in (root / name).rglob("*.py")}
    assert not [str(path) for path, text in texts.items() if re.search(r"\.is(digit|numeric)\(", text)]


def _fail() -> None:
    raise ValueError("hf_secret")
