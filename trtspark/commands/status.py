"""`trtspark status`: one screen of what serves, where, and how."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from trtspark import terminal
from trtspark.project import Choice, Stack

if TYPE_CHECKING:
    from trtspark.screen import State
    from trtspark.watching import Watch

#: Between the two looks of a single status: rates and flows are differences.
BETWEEN_S = 1.0
#: Asking Pulumi takes a second or two.
ASK_AGAIN_S = 10.0


def run(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document (with --watch one a line).")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    metrics: Annotated[
        bool, typer.Option(help="Read the engine's /metrics, which gives each figure to one reader only.")
    ] = True,
) -> None:
    """Show the endpoint, the model, the nodes and the ranks: what runs, how busy it is, what has drifted.

    The exit code is 1 when the model completes nothing or something is not as configured. A "-" is a figure
    that the machine does not tell, as GB10 does with some.

    Examples:

      trtspark status

      trtspark status --watch

      trtspark status --json | jq .drift
    """
    from trtspark.watching import Watch

    choice: Choice = context.obj
    stack = choice.open()
    url = str(stack.outputs.get("endpoint") or "")
    eyes = Watch(stack.connections, stack.name, url, metrics and stack.settings.iteration_stats)
    try:
        if watch:
            follow(stack, eyes, interval, as_json)
            return
        with terminal.err.status("Looking"):
            observed(stack, eyes)
            time.sleep(BETWEEN_S)
            # The completion comes last: it is no load of the users'.
            state = observed(stack, eyes)
            eyes.completions.fault(state.served)
            eyes.completions.wait()
            state = replace(state, fault=eyes.completions.fault(state.served))
        show(state, as_json)
    finally:
        eyes.close()
    if not state.healthy:
        raise typer.Exit(1)


def look(stack: Stack, eyes: Watch) -> State:
    """Everything as it is now, with the last completion's fault."""
    state = observed(stack, eyes)
    return replace(state, fault=eyes.completions.fault(state.served))


def observed(stack: Stack, eyes: Watch) -> State:
    """Everything as it is now, without asking for a completion."""
    from trtspark.screen import State

    nodes, served, load = eyes.sample()
    outputs, settings = stack.outputs, stack.settings
    return State(
        stack=stack.name,
        endpoint=str(outputs.get("endpoint") or ""),
        model=settings.model,
        deployed=str(outputs.get("model") or ""),
        served=served,
        revision=str(outputs.get("revision") or ""),
        transport=[str(one) for one in outputs.get("transport") or ()],
        nodes=nodes,
        load=load,
        running=settings.running,
        ranks=len(settings.active_nodes),
        given=stack.services,
    )


def _again(stack: Stack, eyes: Watch, before: State | None) -> State:
    """The next look; after a drift Pulumi is asked anew now and then, as an `up` may have mended it."""
    if before is not None and before.drift and time.monotonic() - stack.asked_at > ASK_AGAIN_S:
        stack.forget()
    return look(stack, eyes)


def show(state: State, as_json: bool) -> None:
    """Print it once."""
    from trtspark.screen import rendered

    if as_json:
        terminal.out.print(json.dumps(state.document(), indent=2), markup=False)
        return
    terminal.out.print(rendered(state, terminal.out.width))


def follow(stack: Stack, eyes: Watch, interval: float, as_json: bool) -> None:
    """Look again and again until Ctrl-C; the terminal is then as it was, with the last look on it."""
    from rich.live import Live

    from trtspark.screen import rendered

    state: State | None = None
    try:
        if as_json or not terminal.out.is_terminal:
            while True:
                state = _again(stack, eyes, state)
                if as_json:
                    terminal.out.print(json.dumps(state.document()), markup=False)
                else:
                    show(state, as_json=False)
                terminal.out.file.flush()
                time.sleep(interval)
        # The other screen, drawn as a whole once a look: nothing scrolls and nothing flickers.
        with Live(console=terminal.out, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                began = time.monotonic()
                state = _again(stack, eyes, state)
                live.update(rendered(state, terminal.out.width), refresh=True)
                time.sleep(max(0.0, interval - (time.monotonic() - began)))
    except KeyboardInterrupt:
        if state is not None and not as_json and terminal.out.is_terminal:
            show(state, as_json=False)
