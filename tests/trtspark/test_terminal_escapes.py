"""What a terminal would obey reaches none, by whatever the companion or Pulumi prints."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pulumi.dynamic import CreateResult, UpdateResult
from rich.table import Table
from rich.text import Text

from cluster.errors import ConfigError, NodeError, NotReady, TrtSparkError
from cluster.plain_text import UNSAFE, escaped, plain
from dynamic_providers.base import Provider
from trtspark import terminal
from trtspark.commands.logs import Printer
from trtspark.conversation import Timing, _message, _of_event

#: Sets the clipboard, the title, a link; moves, clears; asks for an answer; shows another order.
SEQUENCES = (
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "\x9d52;c;cm0gLXJmIH4=\x9c",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x9b2J",
    "\x1b[6n",
    "\x1bP+q544e\x1b\\",
    "\x1bc",
    "\x1b(0",
    "a\x08\x08b",
    "a\rb",
    "\x07",
    "\x7f",
    "\x85",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\u200f\u061c",
    "\U000e0041",
    "\x1b\x1b[[31m",
    "\x1b]52;c;\x1b]52;c;x\x07y\x07",
)
#: What our own styling emits.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
TEXT = st.text(
    st.sampled_from("\x1b\x9b\x9d\x90\x07\x08\r\n\t[]();:?0152cmJHab \u202e\u2066\u200f\u2028\\")
    | st.characters(),
    max_size=25,
)


def printed(how: Callable[[], object], monkeypatch: Any, colours: bool) -> str:
    """What goes to both streams."""
    text = io.StringIO()
    consoles = {
        name: terminal.console(file=text, force_terminal=colours, width=70) for name in ("out", "err")
    }
    with monkeypatch.context() as patch:
        patch.setattr(terminal, "_console", consoles.__getitem__)
        patch.setattr("sys.stdout", text)
        how()
    return text.getvalue()


def table(text: str) -> Table:
    made = Table("a")
    made.add_row(Text(text))
    made.add_row(Text(text, "red"))
    return made


def logged(text: str) -> None:
    show = Printer(["a", "b"])
    show.line(text)
    show.container(text)


WAYS: dict[str, Callable[[str], object]] = {
    "error": terminal.error,
    "hint": terminal.hint,
    "say": terminal.say,
    "marked": lambda text: terminal.marked("FAIL", "red", text),
    "printed": lambda text: terminal.out.print(text, markup=False),
    "styled": lambda text: terminal.out.print(Text(text, "bold red")),
    "table": lambda text: terminal.out.print(table(text)),
    "several": lambda text: terminal.err.print(text, Text(text), markup=False),
    "without an end": lambda text: terminal.err.print(text, end="", style="dim", markup=False),
    "answer": terminal.stream,
    "document": terminal.document,
    "log": logged,
}


def harmless(text: str) -> bool:
    return not UNSAFE.search(text)


@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_no_sequence_reaches_the_terminal(way, colours, monkeypatch):
    for text in SEQUENCES:
        shown = printed(lambda text=text: WAYS[way](f"before {text} after"), monkeypatch, colours)
        assert harmless(_STYLE.sub("", shown) if colours else shown), (way, text)
        assert "before" in shown


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_nor_any_other_text(text, monkeypatch):
    for way, how in WAYS.items():
        assert harmless(printed(lambda how=how: how(text), monkeypatch, colours=False)), way


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_plain_text_is_plain_and_stays_so(text):
    once = plain(text)
    assert harmless(once)
    assert plain(once) == once


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=30))
@settings(max_examples=50, deadline=None)
def test_words_stay_as_they_are(text):
    assert plain(text) == text
    assert plain(f"{text}\n\t{text}") == f"{text}\n\t{text}"


def test_emoji_that_are_joined_stay():
    assert plain("\U0001f469\u200d\U0001f4bb naïve 日本語") == "\U0001f469\u200d\U0001f4bb naïve 日本語"


@settings(max_examples=50, deadline=None)
@given(TEXT)
def test_a_documents_meaning_stays(text):
    document = json.dumps({"a": text}, ensure_ascii=False)
    assert json.loads(escaped(document)) == {"a": text}
    assert harmless(escaped(document))


@pytest.mark.parametrize("text", SEQUENCES)
def test_questions(text):
    """A name that was found in mDNS is in one."""
    assert harmless(terminal.asked(f"Is {text} the head?", None))


@pytest.mark.parametrize("text", SEQUENCES)
def test_every_error_of_ours(text):
    """Pulumi prints them too."""
    made: tuple[TrtSparkError, ...] = (
        ConfigError(text),
        NotReady(f"it said: {text}"),
        NodeError("node", text, text),
        TrtSparkError(text),
    )
    assert all(harmless(str(error)) for error in made)


@pytest.mark.parametrize("text", SEQUENCES)
def test_what_a_model_or_its_server_says(text):
    event = json.dumps({"choices": [{"delta": {"content": f"a{text}", "reasoning": text}}]}).encode()
    assert all(harmless(piece.text) for piece in _of_event("http://h", event, Timing()))
    assert harmless(_message({"error": {"message": text}}))
    assert harmless(_message(text))


@pytest.mark.parametrize("text", SEQUENCES)
def test_what_a_provider_tells_pulumi(text, monkeypatch):
    from dynamic_providers import base

    told: list[str] = []
    stub = SimpleNamespace(Log=lambda request, timeout: told.append(request.message))
    monkeypatch.setattr(base, "_engine", lambda: "127.0.0.1:1")
    monkeypatch.setattr(base.engine_pb2_grpc, "EngineStub", lambda _channel: stub)
    base.progress()(f"a {text}")
    base.warn()(f"a {text}")
    assert len(told) == 2
    assert all(map(harmless, told))


@pytest.mark.parametrize("text", SEQUENCES)
def test_what_a_provider_learns_is_an_output(text):
    """A rank's log names devices, a node its adapters; Pulumi prints outputs. Inputs stay as they are."""

    class Learning(Provider):
        def create(self, props: dict[str, Any]) -> CreateResult:
            return CreateResult("id", {**props, "lines": [f"a {text}"], "by": {text: (text,)}})

        def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
            return UpdateResult({**_news, "line": text})

    given = {"script": f"printf '{text}'", "connection": {"host": "h"}}
    for outs in (Learning().create(given).outs, Learning().update("id", {"script": ""}, given).outs):
        assert outs is not None
        learnt = [outs.pop(name) for name in ("lines", "by", "line") if name in outs]
        assert learnt
        assert harmless("".join(map(str, leaves(learnt))))
        assert outs == given


def leaves(value: Any) -> list[Any]:
    """Every text of plain data, keys included."""
    if isinstance(value, dict):
        return leaves([*value, *value.values()])
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list | tuple) else [value]


def test_the_companion_prints_by_one_module_and_the_program_logs_plain_text():
    root = Path(__file__).parents[2]
    writes = re.compile(
        r"(?<![.\w])print\(|sys\.std(?:out|err)\.write|(?<!terminal\.)\bConsole\(|typer\.s?echo"
    )
    found = {
        str(path.relative_to(root))
        for path in (root / "trtspark").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if writes.search(line) and "plain(" not in line
    }
    assert found == {"trtspark/terminal.py"}
    for folder in ("components", "dynamic_providers"):
        for path in (root / folder).rglob("*.py"):
            for line in path.read_text("utf-8").splitlines():
                assert "pulumi.log." not in line or "(plain(" in line, f"{path}: {line}"
