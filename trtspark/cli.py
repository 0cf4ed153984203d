"""The command line: every command, the options they share, and how errors end.

Exit codes: 0 done; 1 it failed, and the error says why; 2 a wrong command line; 130 Ctrl-C. `doctor` ends
with the number of its failures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TrtSparkError
from trtspark import terminal
from trtspark.commands import bench as bench_command
from trtspark.commands import chat, doctor, init, logs, models, status
from trtspark.commands import open as open_command
from trtspark.project import Choice

EPILOG = """
Examples:

  trtspark init

  trtspark models use 3

  trtspark status --watch

Changes go through Pulumi. Without a terminal nothing is asked: an option or the default answers, or it is an
error. NO_COLOR turns colours off; a pipe gets none. --install-completion completes words in your shell.

Exit codes: 0 done; 1 it failed, and the error says why; 2 a wrong command line; 130 Ctrl-C.
"""

app = typer.Typer(
    name="trtspark",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes longer to import than everything else here
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)


@app.callback()
def options(
    context: typer.Context,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="The stack (default: the one selected in Pulumi).")
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project", "-C", help="The folder of Pulumi.yaml (default: here, or the nearest above)."
        ),
    ] = None,
) -> None:
    """The companion of a TensorRT-LLM endpoint on DGX Sparks."""
    context.obj = Choice(stack, project)


app.command("init")(init.run)
app.command("doctor")(doctor.run)
app.add_typer(models.app, name="models")
app.command("status")(status.run)
app.command("logs")(logs.run)
app.command("chat")(chat.run)
app.command("open")(open_command.run)
app.add_typer(bench_command.app, name="bench")


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error."""
    try:
        app()
    except TrtSparkError as error:
        terminal.error(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
