"""A number with its noun, as English has it."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 file", "0 files", "3 files": nouns whose plural takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
