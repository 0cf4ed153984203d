"""What machines and servers answer: to a limit, and every kind of nonsense is one error with the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import NodeError, TrtSparkError, Unreachable
from remote import answers, engine, gpu_clock, hub, jobs, limited, live, mpi_key, node, readiness, web
from remote.node import docker_api, probe, stop, untrusted
from remote.rank0 import completion
from remote.rank0 import server as rank0_server
from remote.ssh import Result, SshShell
from tests import samples
from trtspark import conversation
from trtspark.bench import server

DEEP = "[" * 100_000
CONNECTION = samples.connections(1)[0]

#: What comes in place of {"jobs": …}: (exit code, output, error output).
INSTEAD = {
    "nothing": (0, "", ""),
    "a banner alone": (0, "Welcome to spark-1\n", ""),
    "a banner before JSON that breaks off": (0, 'Welcome\n{"gpu_clock": {"a', ""),
    "JSON without end": (0, '{"gpu_clock": ' + DEEP + "\n", ""),
    "a number without end": (0, '{"gpu_clock": ' + "9" * 10_000 + "}\n", ""),
    "JSON of the login": (0, '{"motd": 1}\n', ""),
    "no text": (0, "\ufffd" * 50, ""),
    "another document": (0, "[1]\n", ""),
    "null": (0, "null\n", ""),
}


class Says:
    """A shell whose commands answer one thing."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.result = Result(code, out, err)

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        return self.result

    def close(self) -> None:
        return

    def renew(self) -> None:
        return


PROPS: dict[str, Any] = {
    "connection": CONNECTION.as_props(),
    "manager": CONNECTION.as_props(),
    "name": "key",
    "stack": "one",
}
CALLS: dict[str, Callable[[Says], object]] = {
    "a provider": lambda shell: gpu_clock.look(PROPS, lambda _: shell),
    "the key": lambda shell: mpi_key.look(PROPS, lambda _: shell),
}


@pytest.mark.parametrize("kind", INSTEAD)
@pytest.mark.parametrize("call", CALLS)
def test_whatever_comes_in_place_of_an_answer_is_an_error_with_the_host(call, kind):
    with pytest.raises(NodeError, match="no answer that can be read") as caught:
        CALLS[call](Says(*INSTEAD[kind]))
    assert CONNECTION.host in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_job_likewise():
    for kind in ("nothing", "a banner before JSON that breaks off", "JSON without end"):
        with pytest.raises(NodeError, match=r"10\.9\.8\.7: its program gave no answer"):
            jobs.call(Says(*INSTEAD[kind]), "10.9.8.7", ("stop",), "x", {}, "")


@settings(max_examples=60, deadline=None)
@given(out=st.text(st.sampled_from('{}[]":,a1\n\x1b\ufffd \u2028')) | st.text())
def test_no_output_raises_anything_else(out):
    with suppress(NodeError):
        assert isinstance(answers.whole(Result(0, out, ""), "spark-1"), dict)


# A shell's output


def local(monkeypatch: pytest.MonkeyPatch, script: str) -> SshShell:
    shell = SshShell(CONNECTION)
    monkeypatch.setattr(shell, "_ssh", lambda: ["sh", "-c", script, "ssh"])
    return shell


@pytest.mark.parametrize("script", ["yes", "yes >&2"])
def test_an_output_without_end_is_cut_off(script, monkeypatch):
    monkeypatch.setattr(limited, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(limited.run, "__defaults__", (1 << 20,))
    begun = time.monotonic()
    with pytest.raises(NodeError, match="printed more than 1 MB") as caught:
        local(monkeypatch, script).run("true", timeout=20)
    assert CONNECTION.target in str(caught.value)
    assert time.monotonic() - begun < 5


def test_input_and_output_of_any_length_pass_at_once(monkeypatch):
    text = "0123456789abcdef" * 20_000
    found = local(monkeypatch, "tee /dev/stderr").run("x", stdin=text, timeout=20)
    assert (found.code, found.out, found.err) == (0, text, text)


@pytest.mark.parametrize("script", ["exec true", "exec 0<&-; echo hello; exit 3"])
def test_a_command_that_reads_nothing(script, monkeypatch):
    found = local(monkeypatch, script).run("x", stdin="y" * 500_000, timeout=20)
    assert found.code in (0, 3)


def test_a_command_that_is_late_is_ended(monkeypatch):
    with pytest.raises(Unreachable, match="no answer within 0 s"):
        local(monkeypatch, "exec sleep 9").run("x", timeout=0.1)
    with pytest.raises(Unreachable, match="no answer within 0 s"):
        local(monkeypatch, "exec sleep 9 >&- 2>&-").run("x", timeout=0.1)


def test_bytes_that_are_no_text(monkeypatch):
    found = local(monkeypatch, r"printf 'a\377b\r\nc\n'").run("x", timeout=20)
    assert found.out == "a\ufffdb\nc\n"


def test_a_line_without_end_ends_the_lines():
    with os.fdopen(os.memfd_create("lines"), "w+") as stream:
        stream.write("one\n" + "x" * 30 + "\ntwo\n")
        stream.seek(0)
        assert list(limited.lines(stream, 10)) == ["one\n"]


# A program on a node


def test_a_thread_that_ends_by_surprise_fails_its_program(monkeypatch):
    source = """import threading
def main(args):
    one = threading.Thread(target=lambda: 1 / 0)
    one.start()
    one.join()
    return {}
"""
    monkeypatch.setattr(node, "_source", lambda name: source)
    for text, words in ((node.program(one="main"), ["{}"]), (node.bundle(["one"], "main", {}), [])):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-", *words], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "a part of it ended with ZeroDivisionError\n"


HEAD = "HTTP/1.0 200 OK\r\n\r\n"
#: What Docker's socket may say, and what the program makes of it.
DOCKER = {
    "cut off": HEAD + '{"ID": "a',
    "without end": HEAD + DEEP,
    "no JSON": HEAD + "hello",
    "nothing": "",
    "no HTTP": "SSH-2.0-OpenSSH\r\n",
}


@pytest.fixture
def docker(tmp_path, monkeypatch) -> Callable[[str], str]:
    """A socket at which Docker says one thing."""

    def says(text: str) -> str:
        path = str(tmp_path / "docker.sock")
        listener = probe.socket.socket(probe.socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    try:
                        connection.sendall(text.encode())
                    except OSError:
                        continue

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setattr(probe, "SOCKET", path)
        return path

    return says


@pytest.mark.parametrize("kind", DOCKER)
def test_what_docker_says_on_a_node_is_json_or_an_error(kind, docker):
    path = docker(DOCKER[kind])
    found = probe._ask("/info", time.monotonic() + 5)
    assert (found["rc"], found["out"]) == (1, "")
    assert found["err"]
    with pytest.raises(stop.Stop, match="Docker does not answer"):
        docker_api.get("/info", path)


@pytest.mark.parametrize("kind", [*DOCKER, "a list of another kind"])
def test_a_list_that_docker_does_not_give_whole_is_not_an_empty_one(kind, docker, monkeypatch):
    """Nothing would be running there, and nothing of ours."""
    docker(DOCKER.get(kind, HEAD + "{}"))
    answers_of = {"/info": {"rc": 0, "out": "{}", "err": ""}}
    ask = probe._ask
    monkeypatch.setattr(probe, "_ask", lambda path, *more: answers_of.get(path) or ask(path, *more))
    found = {"program": True, "info": probe._no_answer()}
    probe._docker(found, None, time.monotonic() + 5)
    assert found["info"]["rc"] == 1
    assert found["info"]["err"]
    assert "containers" not in found


def test_what_docker_says_on_a_node_has_an_end(docker, monkeypatch):
    monkeypatch.setattr(untrusted, "MOST_BYTES", 1000)
    monkeypatch.setattr(untrusted.read, "__defaults__", (1000,))
    path = docker(HEAD + json.dumps("x" * 2_000_000))
    assert "longer than" in probe._ask("/info", time.monotonic() + 5)["err"]
    with pytest.raises(stop.Stop, match="longer than"):
        docker_api.get("/info", path)


# HTTP


def http(body: str, *lines: str, status: str = "200 OK") -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {status}", *lines]) + "\r\n\r\n" + body).encode()


#: Answers of a server that is no engine.
PAGES = {
    "without end": http(DEEP, "Content-Length: 100000"),
    "cut off": http('{"data": [{"id', "Content-Length: 5000"),
    "cut in a chunk": http("ff\r\n{}", "Transfer-Encoding: chunked"),
    "no text": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd",
    "packed by a lie": http("hello", "Content-Encoding: gzip", "Content-Length: 5"),
    "null": http("null", "Content-Length: 4"),
    "no list": http('{"data": [1]}', "Content-Length: 13"),
    "a number without end": http("9" * 9000, "Content-Length: 9000"),
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("kind", PAGES)
def test_a_server_that_is_no_engine_is_said_to_be_none(kind, raw, monkeypatch):
    url = raw(PAGES[kind]).url
    assert live.answer(url, "", complete=False).model == ""
    assert live.answer(url, "", complete=False).said
    assert readiness.serving_now(url) == ""
    with pytest.raises(TrtSparkError, match=r"127\.0\.0\.1"):
        server.models(server.target(url))
    with pytest.raises(conversation.AskFailed, match=r"127\.0\.0\.1"):
        list(conversation.ask(url, "m", [], conversation.Timing()))


def test_an_answer_has_an_end(raw):
    url = raw(http("x" * 300_000, "Content-Length: 300000")).url
    assert len(web.get(url, 5).content) == 300_000
    with pytest.raises(web.TooLong):
        web.get(url, 5, most=100_000)


def test_an_answer_has_a_deadline(raw):
    url = raw(http("x" * 300, "Content-Length: 300"), step=60, pause=0.05).url
    begun = time.monotonic()
    with pytest.raises(requests.Timeout):
        web.get(url, 0.1)
    assert time.monotonic() - begun < 1


def test_an_event_has_an_end(raw, monkeypatch):
    monkeypatch.setattr(conversation, "EVENT_BYTES", 1000)
    body = "data: " + "x" * 70_000
    url = raw(http(f"{len(body):x}\r\n{body}\r\n0\r\n\r\n", "Transfer-Encoding: chunked")).url
    with pytest.raises(conversation.AskFailed, match="without end"):
        list(conversation.ask(url, "m", [], conversation.Timing()))


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "usage", "error", "content"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
)
def test_no_event_raises_anything_else(event):
    pieces = [b"data: " + json.dumps(event).encode(), b"\n", b""]
    body = SimpleNamespace(read1=lambda *_, **__: pieces.pop(0))
    response: Any = SimpleNamespace(raw=body, close=lambda: None)
    with pytest.raises(conversation.AskFailed):
        list(conversation._pieces("http://h", response, conversation.Timing()))


def test_a_completion_with_brackets_without_end_is_a_fault():
    assert "without a completion" in completion.fault(200, DEEP[:60_000])
    assert completion.fault(500, DEEP[:60_000]).startswith("HTTP 500")


# Docker's own library


@pytest.fixture
def client(raw, monkeypatch) -> Callable[..., Any]:
    def over(body: str) -> Any:
        url = raw(http(body, f"Content-Length: {len(body)}", "Content-Type: application/json")).url
        made = engine._Client(base_url=url.replace("http", "tcp"), version="1.44", timeout=5)
        return engine.NodeDocker("spark-1", lambda: made)

    return over


@pytest.mark.parametrize(
    ("body", "what"),
    [("[" * 100_000, "no JSON"), ('{"a', "no JSON"), ('"' + "x" * 5000 + '"', "longer than")],
)
def test_docker_by_its_library_is_limited_and_told_with_the_node(body, what, client, monkeypatch):
    monkeypatch.setattr(engine, "ANSWER_BYTES", 200_000 if "[" in body else 2000)
    with pytest.raises(Unreachable, match=what) as caught:
        client(body).info()
    assert str(caught.value).startswith("spark-1: ")


def test_docker_by_its_library_answers(client):
    assert client('{"ID": "a"}').info() == {"ID": "a"}


# The Hub


@pytest.mark.parametrize("packed", ["", "Content-Encoding: gzip"])
def test_the_hubs_answers_are_limited(packed, raw, monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(hub, "PACKED_BYTES", 1 << 20)
    monkeypatch.setattr(hub, "offline", lambda: False)
    body = " " * (1 << 20) + "{}"
    url = raw(http(body, f"Content-Length: {len(body)}", *([packed] if packed else []))).url
    with pytest.raises(hub.HubUnavailable, match=r"longer than 1 MB|cannot be read|cannot be asked"):
        hub.Hub(url, hub.Token(None, "")).resolve("org/name", None, trust_remote_code=False)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"HTTP/1.1 \xb2 OK\r\n\r\n"])
def test_a_server_that_speaks_no_http_does_not_end_rank_0s_watch(said, raw):
    """Nobody would notice then that the engine hangs."""
    watch: Any = SimpleNamespace(url=raw(said).url, model="m")
    assert not rank0_server.Liveness._health(watch)
    fault = rank0_server._fault(rank0_server.urllib.request.Request(watch.url))
    assert fault is None or fault.startswith("no answer") or "HTTP" in fault
