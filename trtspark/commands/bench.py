"""`trtspark bench`: how fast the endpoint is, what limits it, and whether a change made it faster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cluster.errors import ConfigError, TrtSparkError
from trtspark import terminal
from trtspark.project import Choice

if TYPE_CHECKING:
    from trtspark.bench.results import Result, Workload

INTERRUPTED = 130


class _RunByDefault(TyperGroup):
    """`bench quick` and `bench -n 5` mean `bench run …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, with the command filled in."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=_RunByDefault,
    rich_markup_mode=None,
    help="Measure an endpoint, compare runs, write a report. `bench PROFILE` is short for "
    "`bench run PROFILE`; `bench run --help` lists its options.",
)


@app.command("run")
def run(
    context: typer.Context,
    profile: Annotated[
        str, typer.Argument(help="quick, short, medium, long, throughput, latency or stress.")
    ] = "quick",
    requests: Annotated[
        int | None, typer.Option("--requests", "-n", min=1, help="How many requests.")
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option("--input-tokens", "-i", min=1, help="Tokens of each prompt.")
    ] = None,
    output_tokens: Annotated[
        int | None, typer.Option("--output-tokens", "-o", min=1, help="Tokens of each answer.")
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option("--concurrency", "-c", help="Requests at once; a list like 1,4,16 is a sweep."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Open loop: so many requests a second, by a Poisson process."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=1, help="Start nothing after so many seconds.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Prompts from a file: ShareGPT's form, or JSON lines with `prompt`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same prompts and arrivals.")] = 0,
    slo: Annotated[
        str | None, typer.Option(help="Count what is within bounds: ttft=2s,tpot=50ms,e2e=30s.")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="Requests before the run, thrown away (default: 4).")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until a request counts as failed.")] = 600.0,
    url: Annotated[str | None, typer.Option(help="Any OpenAI-compatible server, without a stack.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The model to ask (default: the stack's, or the only one served).")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="The model's tokenizer.json (default: from the head node's cache).")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds the server's API key.")
    ] = None,
    samples: Annotated[bool, typer.Option(help="Sample the engine and the nodes beside the run.")] = True,
    output: Annotated[
        Path | None,
        typer.Option(help="A folder for results, or a .json file (default: .bench in the project)."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the results as JSON, a line each.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Each model of the catalog in turn; the stack's own at the end.")
    ] = False,
    models: Annotated[str | None, typer.Option(help="With --all: these models, separated by commas.")] = None,
    single_node: Annotated[
        bool, typer.Option("--single-node", help="With --all: serve each from the head alone.")
    ] = False,
    skip_token: Annotated[
        bool, typer.Option("--skip-token", help="With --all: leave out models that need a token.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --all: only say what would be done with each.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --all: go on with the last one that did not end.")
    ] = False,
) -> None:
    """Measure the endpoint with a profile, or with sizes of your own.

    Prompts have exactly the tokens asked for, by the model's own tokenizer. Each run is a file in .bench.
    Ctrl-C ends a run early with what there is; again gives up what runs.

    Examples:

      trtspark bench

      trtspark bench throughput -c 1,4,16,64 --slo ttft=2s,tpot=50ms

      trtspark bench -n 200 -i 1024 -o 256 --rate 2

      trtspark bench quick --url http://localhost:8000

      trtspark bench --all --models openai/gpt-oss-20b,Qwen/Qwen2.5-7B-Instruct
    """
    from trtspark.bench import execute, measure, places, plan, screen
    from trtspark.commands.bench_all import Many, many

    try:
        level = measure.parse_slo(slo) if slo is not None else None
    except ValueError as error:
        raise ConfigError(f"--slo: {error}") from None
    wishes = plan.Wishes(
        profile,
        requests,
        input_tokens,
        output_tokens,
        plan.concurrencies(concurrency) if concurrency is not None else (),
        rate,
        duration,
        dataset,
        seed,
        warmup,
        timeout,
    )
    loads = plan.workloads(wishes)
    choice: Choice = context.obj
    folder, name = _destination(choice, url, output, len(loads))
    if everything:
        if url or tokenizer or model or key_env or json_ or name or len(loads) > 1:
            raise ConfigError(
                "--all measures the stack's models with one load each: leave the other options out"
            )
        options = Many(models, single_node, skip_token, dry_run, resume)
        many(choice.open(), options, loads[0], folder, level, samples)
        return
    key = _key(key_env)
    place = (
        places.of_url(url, model, tokenizer, key)
        if url
        else places.of_stack(choice.open(), model, tokenizer, key, samples)
    )
    live = screen.Live(terminal.err)
    results: list[Result] = []
    sweep = _sweep(loads)
    for load in loads:
        result = execute.run(place, load, live, level, dataset, sweep)
        path = _saved(result, folder, name)
        results.append(result)
        if json_:
            terminal.document(result.model_dump_json())
        else:
            screen.print_result(terminal.out, result, path)
        if not result.complete:
            raise typer.Exit(INTERRUPTED)
    if len(results) > 1 and not json_:
        screen.print_sweep(terminal.out, results)
    if not any(result.figures.completed for result in results):
        raise TrtSparkError("no request was answered; the errors are above, by kind.")


def _sweep(loads: list[Workload]) -> str | None:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ") if len(loads) > 1 else None


def _destination(choice: Choice, url: str | None, output: Path | None, runs: int) -> tuple[Path, str | None]:
    """The folder of the results, and the file's name where one was given."""
    from trtspark.bench.results import DEFAULT_FOLDER

    if output is not None and output.suffix == ".json":
        if runs > 1:
            raise ConfigError(
                f"--output: {output} is one file, and a sweep has {runs} results; give a folder"
            )
        if output.exists():
            raise ConfigError(f"--output: {output} is there already; give another name")
        return output.parent, output.name
    if output is not None:
        return output, None
    return (Path.cwd() if url else choice.folder()) / DEFAULT_FOLDER, None


def _saved(result: Result, folder: Path, name: str | None) -> Path:
    from trtspark.bench import results

    return results.write(result, folder, name)


def _key(name: str | None) -> str:
    if name is None:
        return ""
    found = os.environ.get(name)
    if not found:
        raise ConfigError(f"--key-env: {name} is not set in the environment")
    return found


@app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(help="A result: what was.")],
    b: Annotated[Path, typer.Argument(help="Another: what is.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap: the same seed, the same intervals.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether run B is faster than run A, slower, or no difference is seen.

    Requests of both runs are drawn again at random, many times: the interval holds 95 % of the ratios seen.
    A difference below 1 % is called none. The exit code is 0 whatever the verdict.

    Examples:

      trtspark bench compare .bench/before.json .bench/after.json
    """
    import json
    from dataclasses import asdict

    from trtspark.bench import comparison, results, screen

    found = comparison.sides(results.read(a), results.read(b), seed)
    if not json_:
        screen.print_sides(terminal.out, found)
        return
    document = asdict(found)
    for figure in document["figures"]:
        # JSON has no NaN.
        figure.update({name: None for name, value in figure.items() if value != value})
    terminal.document(json.dumps(document, indent=2))


@app.command("report")
def report(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Results, or folders of them (default: the project's .bench).")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page of runs: charts, tables, hardware. It needs no network, now or later.

    Examples:

      trtspark bench report

      trtspark bench report .bench/*.json -o report.html
    """
    from trtspark.bench import results
    from trtspark.bench.report import MARK, render

    if output.exists() and (not output.is_file() or MARK not in output.read_text("utf-8", "replace")[:4096]):
        raise ConfigError(f"{output} is there and is no report of ours; give another name with --output")
    choice: Choice = context.obj
    places = files or [_default_folder(choice)]
    if not files and not places[0].is_dir():
        raise ConfigError(f"{places[0]}: no results there. `trtspark bench` makes one.")
    paths = [path for place in places for path in (results.found(place) if place.is_dir() else [place])]
    if not paths:
        listed = ", ".join(str(place) for place in places)
        raise ConfigError(f"{listed}: no results there. `trtspark bench` makes one.")
    page = render([(path.name, results.read(path)) for path in paths])
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from None
    terminal.out.print(f"{output}: {len(paths)} run{'s' if len(paths) > 1 else ''}", markup=False)


def _default_folder(choice: Choice) -> Path:
    """The project's results where there are some, else those here."""
    from trtspark.bench.results import DEFAULT_FOLDER

    here = Path.cwd() / DEFAULT_FOLDER
    try:
        mine = choice.folder() / DEFAULT_FOLDER
    except ConfigError:
        return here
    return mine if mine.is_dir() else here
