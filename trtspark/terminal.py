"""What a person sees: one console for answers, one for everything else.

Rich leaves colours and animation out when the output is no terminal or NO_COLOR is set.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

#: Answers: what a pipe should get.
out = Console(highlight=False, soft_wrap=True)
#: Progress, hints and errors.
err = Console(stderr=True, highlight=False, soft_wrap=True)

#: Columns of a table that no terminal cuts.
PIPE_WIDTH = 160


def error(text: str) -> None:
    """Print an error, as it is."""
    err.print(f"[bold red]error:[/] {escape(text)}")


def hint(text: str) -> None:
    """Print something that is good to know and no answer."""
    err.print(f"[dim]{escape(text)}[/]")


def width() -> int | None:
    """For a table: None for the terminal's own; into a pipe goes all of it, not as wide as some terminal."""
    return None if out.is_terminal else PIPE_WIDTH
