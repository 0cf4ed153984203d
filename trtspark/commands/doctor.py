"""`trtspark doctor`: what is wrong with the machines and the deployment, and what to do."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import ConfigError
from trtspark import terminal
from trtspark.project import Choice


def run(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Ask neither the Hub nor for a completion, and read no log.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Also test the cables, and the GPU in a container; shows every check."),
    ] = False,
    head: Annotated[bool, typer.Option("--head", help="Only what is about the head.")] = False,
    worker: Annotated[bool, typer.Option("--worker", help="Only what is about the workers.")] = False,
    swarm: Annotated[
        bool, typer.Option("--swarm", help="Only what is about Docker, the Swarm and its services.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document; docs/doctor.md.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tar.gz",
            help="Also write an archive to attach to an issue: without tokens, keys and serial numbers.",
        ),
    ] = None,
) -> None:
    """Check machines, cables, Swarm and endpoint, before and after a deployment.

    Changes nothing. The exit code is the number of failures (125 at most); warnings do not count.

    Examples:

      trtspark doctor

      trtspark doctor --quick --json

      trtspark doctor --full --report spark.tar.gz
    """
    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other.")
    if head + worker + swarm > 1:
        raise typer.BadParameter("--head, --worker and --swarm exclude each other.")
    if report and report.exists():
        raise ConfigError(f"{report} is there already. Name another file, or remove it.")
    choice: Choice = context.obj
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(choice.open)
        # Importing takes as long as Pulumi's answer.
        from trtspark.doctor import archive, show
        from trtspark.doctor.gather import gather

        stack = opened.result()
    part = "head" if head else "worker" if worker else "swarm" if swarm else ""
    found = gather(stack, "quick" if quick else "full" if full else "normal", part)
    if report:
        archive.write(report, stack, found)
        terminal.hint(f"Written: {report}. Look into it before you give it away.")
    if as_json:
        terminal.out.print(json.dumps(found.report.document(), indent=1), markup=False)
    else:
        for line in show.lines(found.report, every=full):
            terminal.out.print(terminal.fitted(line))
    raise typer.Exit(found.report.exit_code)
