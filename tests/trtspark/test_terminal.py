"""Lines on a terminal break between words, and nowhere in a command."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from trtspark import terminal

LONG = (
    "spark-1: Docker is not running there. Nothing can be done. Start it with `sudo systemctl start docker`."
)


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_lines_break_between_words(columns):
    lines = terminal.wrapped(LONG, columns).splitlines()
    assert " ".join(lines) == LONG
    assert all(len(line) <= columns for line in lines if "`" not in line)
    assert sum("`sudo systemctl start docker`" in line for line in lines) == 1


def test_no_terminal_no_breaks():
    assert terminal.wrapped(LONG, None) == LONG


def test_indentation_stays():
    lines = terminal.wrapped("  one two three four\nfive", 10).splitlines()
    assert lines == ["  one two", "  three", "  four", "five"]


def test_an_answers_line_keeps_its_colours_and_commands():
    console = Console(width=40, force_terminal=True, file=io.StringIO())
    line = Text.assemble("    ", ("FAIL", "red"), "  docker.answers: ", LONG.partition(": ")[2])
    shown = terminal.fitted(line, console)
    lines = shown.plain.splitlines()
    assert " ".join(" ".join(lines).split()) == " ".join(line.plain.split())
    assert all(one.startswith("    ") for one in lines)
    assert sum("`sudo systemctl start docker`" in one for one in lines) == 1
    assert shown.spans[0].style == "red"
    assert terminal.fitted(line, Console(width=40, force_terminal=False)) is line
