"""What the doctor makes of an endpoint: one that answers, one that lists and completes nothing, none."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from remote import live


@pytest.fixture
def server():
    """An HTTP server whose answers a test sets: path -> (status, body)."""
    answers: dict[str, tuple[int, str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_words: object) -> None:
            pass

    one = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{one.server_port}", answers
    one.shutdown()
    thread.join(5)
    one.server_close()


SANE = json.dumps({"choices": [{"message": {"content": "One, two"}, "finish_reason": "length"}]})
LISTED = (200, json.dumps({"data": [{"id": "a/model"}]}))


def test_it_lists_and_completes(server):
    url, answers = server
    answers |= {"/v1/models": LISTED, "/v1/chat/completions": (200, SANE)}
    found = live.answer(url, "a/model", complete=True)
    assert (found.model, found.completes) == ("a/model", True)
    assert live.answer(url, "a/model", complete=False).completes is None


def test_it_lists_and_completes_nothing(server):
    url, answers = server
    answers |= {"/v1/models": LISTED, "/v1/chat/completions": (400, "engine is gone")}
    found = live.answer(url, "a/model", complete=True)
    assert (found.model, found.completes, found.said) == ("a/model", False, "HTTP 400: engine is gone")


def test_an_answer_without_a_completion_is_none(server):
    url, answers = server
    answers |= {"/v1/models": LISTED, "/v1/chat/completions": (200, "{}")}
    assert live.answer(url, "a/model", complete=True).completes is False


@pytest.mark.parametrize(
    ("answer", "said"),
    [((503, ""), "HTTP 503"), ((200, "<html>"), "it is no OpenAI API"), ((200, "[]"), "it is no OpenAI API")],
)
def test_something_else_answers(server, answer, said):
    url, answers = server
    answers["/v1/models"] = answer
    found = live.answer(url, "a/model", complete=True)
    assert (found.model, found.said) == ("", said)


def test_nobody_answers():
    found = live.answer("http://127.0.0.1:9", "a/model", complete=True)
    assert (found.model, found.said) == ("", "connection refused")


def test_a_server_that_answers_is_not_silent(server):
    url, answers = server
    answers |= {"/v1/models": LISTED, "/v1/chat/completions": (200, SANE)}
    assert live.silence(url) == ""


def test_dead_is_what_fails_again_and_again(server, monkeypatch):
    """The engine of a hang that it has found itself answers so, and its /health says 200."""
    url, answers = server
    pauses: list[float] = []
    monkeypatch.setattr(live.time, "sleep", pauses.append)
    hang = (400, json.dumps({"message": "Hang detected after 300 seconds."}))
    answers |= {"/v1/models": LISTED, "/v1/chat/completions": hang}
    assert live.silence(url) == "HTTP 400: Hang detected after 300 seconds."
    assert len(pauses) == 2
    assert live.silence("http://127.0.0.1:9") == "connection refused to GET /v1/models"

    def mended(_seconds: float) -> None:
        answers["/v1/chat/completions"] = (200, SANE)

    monkeypatch.setattr(live.time, "sleep", mended)
    assert live.silence(url) == ""


def test_one_that_accepts_and_says_nothing_is_dead_and_a_late_completion_is_not(server, monkeypatch):
    monkeypatch.setattr(live, "HTTP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(live, "PAUSE_S", 0)
    with socket.create_server(("127.0.0.1", 0)) as paused:
        said = live.silence(f"http://127.0.0.1:{paused.getsockname()[1]}")
    assert said == "no answer in time to GET /v1/models"
    url, answers = server
    answers["/v1/models"] = LISTED
    asked = []

    def late(*_words: object, **_more: object) -> None:
        asked.append(1)
        raise live.requests.Timeout

    monkeypatch.setattr(live.requests, "post", late)
    assert live.silence(url) == live.LATE
    assert asked == [1]
