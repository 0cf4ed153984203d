"""A row of the table of symptoms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symptom:
    """What somebody sees, why, and what helps. Markdown, one line each.

    `says`: the program's own words in backticks, with … for names and numbers (a test compares them with
    the program); `shows`: the command that shows more, "" where the message has all; `checks`: ids of the
    doctor's checks that find it.
    """

    says: str
    because: str
    do: str
    shows: str = ""
    checks: tuple[str, ...] = ()
