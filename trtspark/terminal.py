"""What a person sees: one console for answers, one for everything else.

Rich leaves colours and animation out when the output is no terminal or NO_COLOR is set.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

#: Columns of a table that no terminal cuts.
PIPE_WIDTH = 160
#: Answers: what a pipe should get.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
#: Progress, hints and errors.
err = Console(stderr=True, highlight=False, soft_wrap=True)


def error(text: str) -> None:
    """Print an error, as it is."""
    err.print(f"[bold red]error:[/] {escape(text)}")


def hint(text: str) -> None:
    """Print something that is good to know and no answer."""
    err.print(f"[dim]{escape(text)}[/]")
