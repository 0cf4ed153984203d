"""docs/trtspark.md: the `--help` of every command, as the program prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from trtspark.cli import app

WIDTH = 100


def commands() -> str:
    """A heading and a block for the program itself and for each of its commands."""
    return "\n".join(_sections(typer.main.get_command(app), "trtspark", None)).rstrip() + "\n"


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    """`command` is click's, by whichever name the installed typer has its copy of click."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(command, info_name=name.rpartition(" ")[2], parent=parent, **settings)
    yield from (f"## {name}", "", "```text", _plain(command, context), "```", "")
    for one in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, one)
        if not child.hidden:
            yield from _sections(child, f"{name} {one}", context)


def _plain(command: Any, context: Any) -> str:
    """Without rich's frames, whose width is the terminal's."""
    formatter = context.make_formatter()
    command.rich_markup_mode = None
    command.format_help(context, formatter)
    text: str = formatter.getvalue()
    return text.rstrip()
