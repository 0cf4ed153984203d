"""Lines on a terminal break between words, and nowhere in a command."""

import pytest

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
