"""What the doctor makes of an endpoint: one that answers, one that lists and completes nothing, none."""

from __future__ import annotations

import json
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
