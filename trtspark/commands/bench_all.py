"""`trtspark bench --all`: every model in turn, and a matrix of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cluster import catalog
from cluster.errors import ConfigError
from trtspark import terminal

if TYPE_CHECKING:
    from trtspark.bench.matrix import Matrix
    from trtspark.bench.measure import Slo
    from trtspark.bench.results import Workload
    from trtspark.project import Stack

INTERRUPTED = 130


@dataclass(frozen=True)
class Many:
    """The options of --all."""

    models: str | None
    single_node: bool
    skip_token: bool
    dry_run: bool
    resume: bool


def many(
    stack: Stack, options: Many, workload: Workload, folder: Path, slo: Slo | None, samples: bool
) -> None:
    """Plan or do it, and print the matrix. Ends with 130 when it was interrupted, with 1 when nothing was
    measured.
    """
    from trtspark.bench import matrix, screen
    from trtspark.bench.many import Sweep

    stack.endpoint()
    sweep = Sweep(
        stack, workload, folder, screen.Live(terminal.err), terminal.hint, slo, samples, options.skip_token
    )
    todo = _todo(stack, options, workload, folder)
    if options.dry_run:
        screen.print_matrix(terminal.out, sweep.plan(todo.left, todo.single_node), planned=True)
        return
    done = sweep.run(todo)
    screen.print_matrix(terminal.out, done.results)
    place = matrix.path(folder, done)
    terminal.out.print(f"\nSaved {place} and {place.with_suffix('.csv').name}", markup=False)
    ended = {row.model for row in done.results if row.status != "INTERRUPTED"}
    if ended != set(done.models):
        terminal.hint("`trtspark bench --all --resume` goes on.")
        raise typer.Exit(INTERRUPTED)
    if not any(row.status == "SUCCESS" for row in done.results):
        raise typer.Exit(1)


def _todo(stack: Stack, options: Many, workload: Workload, folder: Path) -> Matrix:
    """A new matrix, or the last one of this stack that did not end."""
    from trtspark.bench import matrix

    last = matrix.last(folder, stack.name)
    if options.resume:
        if last is None or not last.left:
            raise ConfigError(
                f"{folder} has no matrix of stack {stack.name} to go on with. Leave --resume out."
            )
        if last.profile != workload.profile:
            raise ConfigError(
                f"the last matrix was measured with profile {last.profile}: give the same to go on"
            )
        return last
    models = chosen(options.models)
    return matrix.Matrix(
        started=datetime.now(UTC),
        stack=stack.name,
        profile=workload.profile,
        single_node=options.single_node,
        original=stack.settings.model,
        models=models,
        # One that was killed may have left another model behind.
        restored=last.restored if last is not None else True,
    )


def chosen(text: str | None) -> list[str]:
    """The models of --models, by id or by number in the catalog; all of it without. Raises ConfigError."""
    if text is None:
        return [model.id for model in catalog.CATALOG]
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        if part.isdecimal() and 1 <= int(part) <= len(catalog.CATALOG):
            found.append(catalog.CATALOG[int(part) - 1].id)
        elif part.count("/") == 1:
            found.append(part)
        else:
            near = catalog.suggestions(part)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"--models: found {part!r}; it may be a Hugging Face id, or a number from 1 to "
                f"{len(catalog.CATALOG)}.{hint}"
            )
    if not found:
        raise ConfigError("--models: it is empty; leave it out for all of the catalog")
    return list(dict.fromkeys(found))
