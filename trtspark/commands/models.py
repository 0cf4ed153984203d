"""`trtspark models`: what there is to serve, what fits, what is there; choosing, fetching, tidying."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import ConfigError, TrtSparkError
from trtspark import terminal
from trtspark.project import Choice, Stack
from trtspark.questions import Questions

if TYPE_CHECKING:
    from cluster.facts import Facts
    from trtspark.shelf import Row

app = typer.Typer(
    help="The catalog and the nodes' caches: what fits, what is there, what is served.",
    rich_markup_mode=None,
)


def completed(incomplete: str) -> list[str]:
    """For the shell: the catalog's ids that begin so; the nodes are not asked at a key press."""
    from cluster.catalog import CATALOG

    return [model.id for model in CATALOG if model.id.lower().startswith(incomplete.lower())]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A Hugging Face id, or a number of the list.", autocompletion=completed
    ),
]
#: The verdict on the configured image, in a word or two.
_IMAGE = {
    None: "nothing is known of it.",
    "ok": "no trouble is known.",
    "warn": "warns.",
    "refuse": "refused.",
}
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


@dataclass(frozen=True)
class Survey:
    """What the nodes told: facts and caches of those that were reached, and why others were not."""

    facts: Sequence[Facts]
    caches: Mapping[str, Mapping[str, Any]]
    errors: Sequence[TrtSparkError]
    rows: Sequence[Row]


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """List the models, or what a command below does.

    Examples:

      trtspark models

      trtspark models use 3
    """
    if context.invoked_subcommand is None:
        listed(context)


@app.command("list")
def listed(context: typer.Context, as_json: Json = False) -> None:
    """The catalog, and what else the nodes hold: size, fit here, where it is.

    "Fit here" is an estimate (docs/memory-fit.md) for the nodes, batch and context as configured;
    "Sparks" are the fewest that do.

    Examples:

      trtspark models list

      trtspark models list --json
    """
    from trtspark.setting_up import show_models

    stack = _stack(context)
    found = survey(stack)
    if as_json:
        terminal.out.print(json.dumps([_document(row) for row in found.rows], indent=2), markup=False)
    else:
        terminal.out.print(show_models(found.rows))
    for error in found.errors:
        terminal.hint(str(error))


@app.command("show")
def show(context: typer.Context, model: Model, as_json: Json = False) -> None:
    """Everything known of one model.

    Examples:

      trtspark models show openai/gpt-oss-120b
    """
    stack = _stack(context)
    found = survey(stack)
    row = _row(stack, found, model)
    if as_json:
        terminal.out.print(json.dumps(_document(row), indent=2), markup=False)
        return
    terminal.out.print(described(row, found), markup=False)


@app.command("use")
def use(
    context: typer.Context,
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Deploy without asking.")] = False,
    config_only: Annotated[
        bool, typer.Option("--config-only", help="Set the configuration, and do not run `pulumi up`.")
    ] = False,
    download_only: Annotated[
        bool, typer.Option("--download-only", help="Fetch it to the nodes and change nothing, as `pull`.")
    ] = False,
) -> None:
    """Serve another model: set it in the configuration and run `pulumi up`, which previews and asks.

    The old model serves until the new one's files are on every node.

    Examples:

      trtspark models use openai/gpt-oss-20b

      trtspark models use 3 --config-only
    """
    if config_only and download_only:
        raise typer.BadParameter("--config-only and --download-only exclude each other")
    stack = _stack(context)
    chosen = _chosen(stack, model)
    if download_only:
        fetch(stack, chosen)
        return
    if not (yes or config_only) and not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal for pulumi to ask on. Give --yes, or --config-only and run `pulumi up`."
        )
    select(stack, chosen)
    if config_only:
        terminal.out.print(f"pulumi up --stack {stack.name}", markup=False)
        return
    before = dict(stack.outputs).get("model")
    words = ["pulumi", "up", "--stack", stack.name, *(["--yes"] if yes else [])]
    done = subprocess.run(words, cwd=stack.folder, check=False)
    if done.returncode:
        back = f" `trtspark models use {before} --config-only` sets it back." if before else ""
        terminal.hint(f"The configuration says {chosen}.{back}")
        raise typer.Exit(1)


@app.command("pull")
def pull(context: typer.Context, model: Model) -> None:
    """Fetch a model to every node, while another one serves.

    The nodes do it by themselves: Ctrl-C ends the watching, and the same command takes it up again.

    Examples:

      trtspark models pull openai/gpt-oss-20b
    """
    stack = _stack(context)
    fetch(stack, _chosen(stack, model))


@app.command("prune")
def prune(
    context: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only these (all but the one in use).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Remove models from the nodes' caches, after a list with their sizes. Never the one in use.

    Examples:

      trtspark models prune

      trtspark models prune Qwen/Qwen2.5-7B-Instruct --yes
    """
    stack = _stack(context)
    found = survey(stack)
    used = in_use(stack, found)
    chosen = [_row(stack, found, one).model.id for one in models or ()]
    for one in chosen:
        if one in used:
            raise ConfigError(f"{one} is in use and is not removed. `trtspark models use` another one first.")
    todo = removable(found, used, chosen)
    for error in found.errors:
        terminal.hint(str(error))
    if not todo:
        terminal.hint("There is nothing to remove.")
        return
    for host, one, size in todo:
        terminal.out.print(f"{host}  {one}  {size / 1e9:.1f} GB", markup=False)
    ask = Questions()
    if not yes and not ask.yes(None, "--yes", f"Remove these {len(todo)} folders?", default=False):
        raise typer.Exit(1)
    _remove(stack, todo)


def survey(stack: Stack) -> Survey:
    """A look at every node: facts and caches. A node that is not reached is told of, and no obstacle."""
    from concurrent.futures import ThreadPoolExecutor

    from cluster import published
    from remote import model
    from remote.preflight import examine
    from remote.ssh import SshShell
    from trtspark import nodes, shelf

    settings, connections = stack.settings, stack.connections
    # The shape of a model of the catalog is known without the Hub.
    hub_of = model.unasked if published.model(settings.model) else model.default_hub
    with terminal.err.status("Looking at the nodes"), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(examine, stack.name, settings, connections, SshShell, hub_of)
        answers = nodes.every(connections, "models_cache", "look", {"hf_cache": settings.hf_cache})
        seen = asked.result()
    caches = {
        one.host: answer["models"]
        for one, answer in zip(connections, answers, strict=True)
        if not isinstance(answer, TrtSparkError)
    }
    errors = [answer for answer in answers if isinstance(answer, TrtSparkError)]
    known = {settings.model: seen.found.model} if seen.found and seen.found.model else {}
    rows = shelf.rows(settings, stack.name, seen.facts, caches, known)
    return Survey(seen.facts, caches, errors, rows)


def select(stack: Stack, model: str) -> None:
    """Set the model, and take away what was the old model's own."""
    from cluster.other_model import dropped_keys, kept
    from trtspark import writing

    old, dropped = stack.settings.model, dropped_keys(stack.settings, model)
    wanted: dict[str, Any] = {"model": model, **dict.fromkeys(dropped)}
    for key in dropped:
        terminal.hint(f"{key} was set for {old}: it is taken away.")
    if staying := kept(stack.settings, model):
        terminal.hint(
            f"Still in force: {', '.join(staying)}. `pulumi config rm KEY` takes one away, and the default "
            f"for {model} counts."
        )
    todo = writing.changes({key: stack.raw(key) for key in wanted}, wanted)
    writing.write(stack, todo)
    terminal.hint(f"{stack.name}: model is {model}.")


def fetch(stack: Stack, model: str) -> None:
    """Every file of the model whole on every node, by the work that `pulumi up` does too."""
    from trtspark.fetching import fetch as go

    try:
        with terminal.err.status(f"{model}: asking") as status:
            go(stack, model, lambda text: _progress(status, text))
    except KeyboardInterrupt:
        terminal.hint(f"The nodes go on by themselves; `trtspark models pull {model}` watches again.")
        raise
    terminal.err.print(f"{model} is whole on every node.", markup=False)


def in_use(stack: Stack, found: Survey) -> set[str]:
    """What must stay: the configured model, the deployed one, and what any rank on the nodes may serve."""
    used = {stack.settings.model, str(stack.outputs.get("model") or "")}
    others = {rank[0] for facts in found.facts for rank in facts.ranks} - {_short(stack.name), stack.name}
    if others:
        raise ConfigError(
            f"ranks of another stack run on the nodes ({', '.join(sorted(others))}), and their models are "
            "not known here. Stop them first."
        )
    return used - {""}


def removable(found: Survey, used: set[str], chosen: Sequence[str]) -> list[tuple[str, str, int]]:
    """(node, model, bytes of its own) of what may go: all that is not in use, or the chosen ones."""
    return [
        (host, one, int(entry["bytes"]))
        for host, cache in found.caches.items()
        for one, entry in sorted(cache.items())
        if one not in used and (not chosen or one in chosen)
    ]


def described(row: Row, found: Survey) -> str:
    """One model as text: a line for each thing known."""
    from cluster import fit

    entry = row.model
    lines = [
        f"Model      {entry.id}" + ("  (current)" if row.current else ""),
        f"Size       {row.bytes / 1e9:.1f} GB, {entry.quantisation}" if row.bytes else "Size       not known",
        f"Licence    {entry.licence}"
        + (f", gated: accept it at https://huggingface.co/{entry.id}" if entry.gated else ""),
        f"Sparks     {row.nodes or 'not known'}" + (" or more" if row.nodes else ""),
        f"Fit here   {row.word or 'not known'}" + (f": {fit.sentence(row.estimate)}" if row.estimate else ""),
        f"Defaults   maxBatchSize {entry.max_batch_size}, maxNumTokens {entry.max_num_tokens}, "
        f"gpuMemoryFraction {entry.gpu_memory_fraction:.2f}",
    ]
    lines.append(f"Image      {_IMAGE[row.image]}" + "".join(f" {note}" for note in row.image_notes))
    if entry.note:
        lines.append(f"Note       {entry.note}")
    for host, cache in found.caches.items():
        lines.append(f"On {host}  {_held(cache.get(entry.id), row.held.get(host, 0.0))}")
    return "\n".join(lines)


def _held(entry: Mapping[str, Any] | None, part: float) -> str:
    if entry is None:
        return "nothing"
    size = f"{(int(entry['bytes']) + int(entry['shared'])) / 1e9:.1f} GB"
    if part >= 1:
        return f"whole, {size}, commit {str(entry['commit'])[:12]}"
    return f"{size}, not whole: {'; '.join(entry['problems'][:3])}"


def _document(row: Row) -> dict[str, Any]:
    return {
        "number": row.number,
        "id": row.model.id,
        "bytes": row.bytes,
        "quantisation": row.model.quantisation,
        "licence": row.model.licence,
        "gated": row.model.gated,
        "fit": row.word or None,
        "nodesNeeded": row.nodes,
        "image": {"verdict": row.image, "reasons": list(row.image_notes)},
        "cached": {node: round(part, 3) for node, part in row.held.items()},
        "current": row.current,
    }


def _stack(context: typer.Context) -> Stack:
    choice: Choice = context.find_root().obj
    return choice.open()


def _chosen(stack: Stack, text: str) -> str:
    """An id as it is; a number needs the list, and so the nodes' caches."""
    from trtspark import shelf

    return shelf.chosen(survey(stack).rows if text.isdecimal() else (), text)


def _row(stack: Stack, found: Survey, text: str) -> Row:
    from trtspark import shelf

    model = shelf.chosen(found.rows, text)
    there = next((row for row in found.rows if row.model.id == model), None)
    return there or shelf.row(stack.settings, stack.name, found.facts, found.caches, 0, model, None)


def _progress(status: Any, text: str) -> None:
    if terminal.err.is_terminal:
        from rich.markup import escape

        status.update(escape(text))
    else:
        terminal.err.print(text, markup=False)


def _remove(stack: Stack, todo: Sequence[tuple[str, str, int]]) -> None:
    from trtspark import nodes

    failed = False
    for connection in stack.connections:
        ids = [model for host, model, _ in todo if host == connection.host]
        if not ids:
            continue
        args = {"hf_cache": stack.settings.hf_cache, "models": ids}
        answer = nodes.every([connection], "models_cache", "prune", args)[0]
        if isinstance(answer, TrtSparkError):
            terminal.error(str(answer))
            failed = True
            continue
        terminal.hint(f"{connection.host}: {answer['bytes'] / 1e9:.1f} GB are free again.")
    if failed:
        raise typer.Exit(1)


def _short(name: str) -> str:
    from cluster.service_spec import short

    return short(name)
