"""`trtspark chat`: one question, a pipe, a talk; and what goes wrong in a sentence."""

from __future__ import annotations

from typing import ClassVar

import pytest
from typer.testing import CliRunner

from tests import samples
from tests.trtspark.chat_server import serving
from trtspark.cli import app
from trtspark.commands import chat
from trtspark.conversation import AskFailed, Timing
from trtspark.project import Choice


class FakeStack:
    settings = samples.settings(2)
    url = ""
    outputs: ClassVar = {}

    def endpoint(self) -> str:
        return self.url


@pytest.fixture
def server(monkeypatch):
    stack = FakeStack()
    monkeypatch.setattr(Choice, "open", lambda _self: stack)
    with serving() as one:
        stack.url = one.url
        yield one


def run(*words, **more):
    return CliRunner().invoke(app, ["chat", *words], **more)


def test_one_question_prints_the_answer_and_nothing_else_on_stdout(server):
    done = run("Hi there")
    assert (done.exit_code, done.stdout) == (0, "Hello world\n")
    assert "s to the first token, 2 tokens" in done.stderr
    [asked] = server.asked
    assert asked["messages"] == [{"role": "user", "content": "Hi there"}]
    assert asked["stream"]
    assert "max_tokens" not in asked


def test_a_pipe_brings_the_prompt(server):
    assert run("--system", "Be brief.", "--max-tokens", "5", input="from a pipe\n").stdout == "Hello world\n"
    [asked] = server.asked
    assert [m["content"] for m in asked["messages"]] == ["Be brief.", "from a pipe"]
    assert asked["max_tokens"] == 5


def test_an_empty_pipe_is_a_wrong_command_line(server):
    done = run(input="")
    assert done.exit_code == 2
    assert not server.asked


def test_reasoning_is_apart_from_the_answer(server):
    server.deltas = [{"reasoning_content": "hm"}, {"reasoning": "aha"}, {"content": "42"}]
    done = run("?")
    assert done.stdout == "42\n"
    assert "hmaha" in done.stderr
    quiet = run("?", "--no-reasoning")
    assert quiet.stdout == "42\n"
    assert "hmaha" not in quiet.stderr


def test_a_models_words_cannot_move_the_cursor(server):
    server.deltas = [{"content": "a\x1b[2Jb\tc\n[red]d"}]
    assert run("?").stdout == "a[2Jb\tc\n[red]d\n"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("HTTP 400:prompt is too long", "HTTP 400: prompt is too long."),
        ("HTTP 404:no model", "`trtspark status` shows which model"),
        ("event", "the server gave up: the executor is gone."),
        ("cut", "the answer was cut off."),
    ],
)
def test_faults_are_sentences(server, fault, said):
    server.fault = fault
    done = run("?")
    assert done.exit_code == 1
    assert isinstance(done.exception, AskFailed)
    assert said in str(done.exception)


def test_nothing_listens():
    with serving() as gone:
        url = gone.url
    with pytest.raises(AskFailed, match="nothing listens there"):
        chat.Talk(url, "m", None, True, {}).say("?")


def typed(monkeypatch, *lines):
    waiting = iter(lines)

    def answer(_prompt):
        found = next(waiting)
        if isinstance(found, type):
            raise found
        return found

    monkeypatch.setattr("builtins.input", answer)


def test_a_talk_keeps_its_history_and_survives_an_error(server, monkeypatch, capsys):
    typed(monkeypatch, "one", KeyboardInterrupt, "", "two", "/exit")
    talk = chat.Talk(server.url, "m", None, True, {})
    server.fault = "HTTP 500:oops"
    with pytest.raises(AskFailed):
        talk.say("lost")
    server.fault = ""
    chat.converse(talk)
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["one", "Hello world", "two"]
    assert capsys.readouterr().out == "Hello world\nHello world\n"


def test_ctrl_d_ends_a_talk(server, monkeypatch):
    typed(monkeypatch, EOFError)
    chat.converse(chat.Talk(server.url, "m", None, True, {}))
    assert not server.asked


def test_a_cut_answer_stays_as_far_as_it_came_and_ends_the_request(server, monkeypatch):
    server.deltas, server.pause = [{"content": f"{n} "} for n in range(200)], 0.02
    talk = chat.Talk(server.url, "m", None, True, {})
    seen = []

    def interrupted(_self, text, _reasoning):
        seen.append(text)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chat._Shown, "piece", interrupted)
    with pytest.raises(KeyboardInterrupt):
        talk.say("count")
    assert talk.messages[-1] == {"role": "assistant", "content": "0 1 2 "}
    assert server.aborted.wait(10)


def test_the_rate_leaves_out_the_first_token():
    timing = Timing(asked=10.0, first=10.5, last=12.5, pieces=21, tokens=41)
    assert timing.line() == "0.50 s to the first token, 41 tokens, 20.0 tokens/s"
    assert Timing().line() == ""


def test_help_and_unknown_commands_are_not_sent(server, monkeypatch, capsys):
    typed(monkeypatch, "/help", "/exti", "/", "/etc/hosts has which lines?", " /help me", "/quit")
    chat.converse(chat.Talk(server.url, "m", None, True, {}))
    asked = [one["messages"][-1]["content"] for one in server.asked]
    assert asked == ["/etc/hosts has which lines?", "/help me"]
    shown = capsys.readouterr().err
    assert shown.count("/exit, /quit") == 3
    assert "/exti" in shown
