"""What a person sees: one console for answers, one for everything else.

Rich leaves colours and animation out when the output is no terminal or NO_COLOR is set.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from cluster.plain_text import escaped, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    #: Answers: what a pipe should get.
    out: Console
    #: Progress, hints and errors.
    err: Console

#: Columns of a table that no terminal cuts.
PIPE_WIDTH = 160
#: Columns that stay free after a question.
ROOM_TO_ANSWER = 12


def __getattr__(name: str) -> Console:
    """`out` and `err`, made when they are first wanted: `--help` needs neither, and rich takes a while."""
    if name not in ("out", "err"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _console(name)


@cache
def _console(name: str) -> Console:
    if name == "err":
        return console(stderr=True, soft_wrap=True)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return console(soft_wrap=True, width=width)


def console(**options: Any) -> Console:
    """A console of rich's that obeys nobody but us: whatever is printed, a table's cell too, is `plain`."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for one in super().render(renderable, options):
                yield one if one.control else one._replace(text=plain(one.text))

    return Plain(highlight=False, emoji=False, **options)


def stream(text: str) -> None:
    """Write a piece of an answer to standard output at once."""
    sys.stdout.write(plain(text))
    sys.stdout.flush()


def document(text: str) -> None:
    """Write a JSON document to standard output."""
    sys.stdout.write(escaped(text) + "\n")


def error(text: str) -> None:
    """Print an error."""
    marked("error:", "bold red", text)


def marked(word: str, style: str, text: str) -> None:
    """Print a text that begins with a coloured word."""
    shown = wrapped(f"{word} {text}", _columns()).removeprefix(word)
    from rich.markup import escape

    _console("err").print(f"[{style}]{escape(word)}[/]{escape(shown)}")


def say(text: str) -> None:
    """Print a text for the person at the terminal."""
    _console("err").print(wrapped(text, _columns()), markup=False)


def hint(text: str) -> None:
    """Print something that is good to know and no answer."""
    from rich.markup import escape

    _console("err").print(f"[dim]{escape(wrapped(text, _columns()))}[/]")


def asked(question: str, default: str | None) -> str:
    """A question with line breaks that leave room for its default and an answer."""
    columns = _columns()
    return wrapped(plain(question), columns and max(20, columns - len(default or "") - ROOM_TO_ANSWER))


#: A command in backticks is one word: a line break inside would be copied with it.
_COMMAND = re.compile(r"`[^`\n]*`")
#: In place of a space at which no line may break; of Unicode's private use.
_HELD = "\ue000"
_WORD = re.compile(r"(?:[^\s`]|`[^`\n]*`)+|`")


def wrapped(text: str, columns: int | None) -> str:
    """The text with line breaks between words, at most `columns` wide where its words allow; None: as it is.

    Lines that the text has keep their breaks and their indentation.
    """
    if columns is None:
        return text
    return "\n".join(_wrapped_line(line, columns) for line in text.split("\n"))


def fitted(text: Text, console: Console | None = None) -> Text:
    """An answer's line, broken between words on a terminal, each part indented alike."""
    console = console or _console("out")
    if not console.is_terminal or len(text) <= console.width:
        return text
    held = text.copy()
    held.plain = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), text.plain)
    indent = len(text.plain) - len(text.plain.lstrip())
    lines = held.wrap(console, max(20, console.width - indent), overflow="ignore")
    for number, line in enumerate(lines):
        line.plain = line.plain.rstrip().replace(_HELD, " ")
        if number:
            line.pad_left(indent)
    return text.blank_copy("\n").join(lines)


def _wrapped_line(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines, current = [], ""
    for word in _WORD.findall(line):
        longer = f"{current} {word}" if current else f"{indent}{word}"
        if current and len(longer) > columns:
            lines.append(current)
            longer = f"{indent}{word}"
        current = longer
    return "\n".join([*lines, current])


def _columns() -> int | None:
    """The terminal's width; None where lines are not to be broken."""
    console = _console("err")
    return console.width if console.is_terminal else None
