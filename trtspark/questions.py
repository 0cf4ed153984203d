"""Questions to a person, each of which a flag can answer; without a terminal flags and defaults must do."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from cluster.errors import ConfigError
from trtspark import terminal


class Questions:
    """Where answers come from: a flag's value, the person, or the default."""

    def __init__(self, interactive: bool | None = None) -> None:
        """`interactive`: None for whether there is a terminal to ask on."""
        self.interactive = sys.stdin.isatty() if interactive is None else interactive

    def text(
        self,
        given: str | None,
        flag: str,
        question: str,
        default: str | None = None,
        check: Callable[[str], str] = str,
    ) -> str:
        """A line of text. `check` gives it back as it is to be used, or raises ConfigError: then a person
        is asked again.
        """
        if given is not None:
            return check(given)
        if not self.interactive:
            if default is None:
                raise ConfigError(f"{flag} is missing, and there is no terminal to ask on ({question}).")
            return check(default)
        while True:
            answer = str(typer.prompt(terminal.asked(question, default), default=default, err=True))
            try:
                return check(answer.strip())
            except ConfigError as error:
                terminal.error(str(error))

    def yes(self, given: bool | None, flag: str, question: str, default: bool = False) -> bool:
        """Yes or no; without a terminal and a flag the default, which must be the harmless answer."""
        if given is not None:
            return given
        if not self.interactive:
            terminal.hint(f"{question} Taken as {'yes' if default else 'no'}; {flag} answers it.")
            return default
        return typer.confirm(terminal.asked(question, "y/N"), default=default, err=True)
