"""`trtspark chat`: a talk with the model, or one question."""

from __future__ import annotations

import re
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtspark import terminal
from trtspark.project import Choice

if TYPE_CHECKING:
    from trtspark.conversation import Timing

ENDS = ("/exit", "/quit")
HELP = "/help"
COMMANDS = """/help           show this
/exit, /quit    end the talk (Ctrl-D does, too)
Ctrl-C          cut an answer short
All else goes to the model, also a line that begins with a space and then a slash."""
#: A path like /etc/hosts is none.
_COMMAND = re.compile(r"/[A-Za-z?]*(?=\s|$)")


def run(
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="One question; without it a talk, or what a pipe brings.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="What the model is told before all else.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 to 2: how varied.")] = None,
    reasoning: Annotated[bool, typer.Option(help="Show what the model thinks before it answers.")] = True,
    url: Annotated[
        str | None, typer.Option(help="The endpoint as it is reached from here, like a tunnel's.")
    ] = None,
) -> None:
    """Talk with the model. The answer streams to standard output, all else to standard error.

    In a talk Ctrl-C cuts the answer short, Ctrl-D or /exit ends it, and /help lists the commands.

    Examples:

      trtspark chat

      trtspark chat "Why is the sky blue?"

      git diff | trtspark chat --system "Write a commit message."
    """
    choice: Choice = context.obj
    stack = choice.open()
    where = (url or stack.endpoint()).rstrip("/").removesuffix("/v1")
    more = {"max_tokens": max_tokens, "temperature": temperature}
    model = str(stack.outputs.get("model") or stack.settings.model)
    talk = Talk(where, model, system, reasoning, more)
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise typer.BadParameter("nothing came on standard input; give a PROMPT", param_hint="PROMPT")
    if prompt is not None:
        talk.say(prompt)
        return
    converse(talk)


class Talk:
    """What was said so far, and with whom."""

    def __init__(
        self, url: str, model: str, system: str | None, reasoning: bool, more: dict[str, Any]
    ) -> None:
        """`more`: keys of each request; those that are None are left out."""
        self.url, self.model, self.reasoning = url, model, reasoning
        self.more = {key: value for key, value in more.items() if value is not None}
        self.messages = [{"role": "system", "content": system}] if system else []

    def say(self, text: str) -> None:
        """Ask, and print the answer as it comes. What went wrong leaves no trace in the talk; an answer
        that was cut short (KeyboardInterrupt) stays as far as it came.
        """
        from trtspark.conversation import Timing, ask

        timing, said = Timing(), ""
        question = {"role": "user", "content": text}
        pieces = ask(self.url, self.model, [*self.messages, question], timing, **self.more)
        shown = _Shown()
        try:
            with closing(pieces):
                for piece in pieces:
                    if not piece.reasoning:
                        said += piece.text
                    if self.reasoning or not piece.reasoning:
                        shown.piece(piece.text, piece.reasoning)
        except KeyboardInterrupt:
            self._keep(question, said)
            raise
        finally:
            shown.end()
        self._keep(question, said)
        _tell(timing)

    def _keep(self, question: dict[str, str], said: str) -> None:
        if said:
            self.messages += [question, {"role": "assistant", "content": said}]


class _Shown:
    """An answer on the screen: reasoning dimmed and apart from it, on standard error."""

    def __init__(self) -> None:
        self._reasoning, self._open = False, False

    def piece(self, text: str, reasoning: bool) -> None:
        if self._reasoning and not reasoning:
            terminal.err.print("\n")
        self._reasoning = reasoning
        self._open = not text.endswith("\n")
        if reasoning:
            terminal.err.print(text, end="", style="dim", markup=False)
            terminal.err.file.flush()
            return
        terminal.stream(text)

    def end(self) -> None:
        if self._open:
            if self._reasoning:
                terminal.err.print()
            else:
                terminal.stream("\n")


def converse(talk: Talk) -> None:
    """Ask for one prompt after another, until the end of input."""
    from cluster.errors import TrtSparkError

    with suppress(ImportError):
        import readline  # noqa: F401 - input() edits lines and remembers them by it
    terminal.hint(f"{talk.model} at {talk.url}. /help shows the commands; Ctrl-D or /exit ends.")
    while True:
        try:
            typed = input("> ")
        except EOFError:
            terminal.err.print()
            return
        except KeyboardInterrupt:
            terminal.err.print()
            terminal.hint("Ctrl-D or /exit ends.")
            continue
        text = typed.strip()
        if text in ENDS:
            return
        if not text:
            continue
        if command := _COMMAND.match(typed):
            if command[0] != HELP:
                terminal.say(f"There is no command {command[0]}.")
            terminal.hint(COMMANDS)
            continue
        try:
            talk.say(text)
        except KeyboardInterrupt:
            terminal.hint("Cut short.")
        except TrtSparkError as error:
            terminal.error(str(error))


def _tell(timing: Timing) -> None:
    if line := timing.line():
        terminal.hint(line)
    else:
        terminal.hint("The answer is empty.")
