"""Watching: one session per node, begun anew when it ends; the engine's figures by either way."""

from __future__ import annotations

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.vitals import Load
from tests import samples
from trtspark.watching import Completions, EngineWatch, NodeWatch

#: Runs the command here, as sshd would on a node.
SSH = """#!/bin/sh
for last; do :; done
echo session >>"$SSH_LOG"
exec sh -c "$last"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "log"))
    one = NodeWatch(samples.connections(1)[0], "dgx")
    one.log = tmp_path / "log"
    yield one
    one.close()


def test_one_session_answers_again_and_again(here):
    found = [here.sample() for _ in range(3)]
    assert all(one.memory > one.available > 0 for one in found)
    assert here.log.read_text() == "session\n"


def test_a_session_that_ends_is_told_of_and_begun_anew(here):
    here.sample()
    os.killpg(here._process.pid, signal.SIGKILL)
    here._process.wait()
    gone = here.sample()
    assert gone.problem
    assert gone.memory == 0
    assert here.sample().memory > 0
    assert here.log.read_text() == "session\n" * 2


def test_closing_leaves_no_process(here):
    here.sample()
    process = here._process
    here.close()
    assert process.returncode is not None


class Engine(BaseHTTPRequestHandler):
    pages: dict

    def do_GET(self):
        body = self.pages.get(self.path)
        if callable(body):
            body = body()
        data = (body or "").encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_words):
        pass


@pytest.fixture
def engine():
    asked = []
    handler = type("Mine", (Engine,), {"pages": {"/v1/models": '{"data": [{"id": "a/b"}]}'}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler.pages, asked
    server.shutdown()
    server.server_close()


def watch(url, drain=True):
    return EngineWatch(url, drain)


def test_older_engines_are_read_by_their_iterations(engine):
    url, pages, _ = engine
    item = '{"numActiveRequests": 2, "inflightBatchingStats": {"numGenRequests": 2}}'
    pages["/metrics"] = f"[{item}]"
    eyes = watch(url)
    served, first = eyes.sample()
    assert (served, first.running, first.tokens_per_second) == ("a/b", 2, None)
    assert eyes.sample()[1].tokens_per_second > 0
    eyes.close()


def test_figures_are_left_to_another_reader_when_told_so(engine):
    url, pages, asked = engine
    pages["/metrics"] = lambda: asked.append(1) or "[]"
    eyes = watch(url, drain=False)
    assert eyes.sample() == ("a/b", Load())
    assert not asked
    eyes.close()


def test_counters_are_preferred_as_they_drain_nothing(engine):
    url, pages, asked = engine
    pages["/metrics"] = lambda: asked.append(1) or "[]"
    pages["/prometheus/metrics/"] = (
        'trtllm_generation_tokens_total{a="b"} 10.0\ntrtllm_num_requests_running{a="b"} 1.0\n'
    )
    eyes = watch(url)
    eyes.sample()
    assert eyes.sample()[1] == Load(1, None, 0.0)
    assert not asked
    eyes.close()


def test_a_server_that_lists_its_model_may_complete_nothing(engine):
    url, pages, asked = engine
    answer = '{"choices": [{"message": {"content": "%s"}, "finish_reason": "length"}]}'
    pages["/v1/chat/completions"] = lambda: asked.append(1) or answer % ("!" * 32)
    eyes = Completions(url)
    assert eyes.fault("a/b") == ""  # none has come yet
    eyes.wait()
    assert eyes.fault("a/b") == 'the answer repeats "!" over and over'
    assert asked == [1]  # not at every look
    eyes.every_s = 0
    pages["/v1/chat/completions"] = answer % "One, two"
    eyes.fault("a/b")
    eyes.wait()
    eyes.every_s = 60
    assert eyes.fault("a/b") == ""


def test_nothing_is_asked_of_a_server_that_is_not_there():
    eyes = Completions("http://127.0.0.1:9")
    assert eyes.fault("") == ""
    eyes.wait()
    assert eyes.fault("a/b") == ""
    eyes.wait()
    assert eyes.fault("a/b") == ""


def test_an_engine_that_is_not_there():
    eyes = watch("http://127.0.0.1:9")
    assert eyes.sample() == ("", Load())
    eyes.close()
