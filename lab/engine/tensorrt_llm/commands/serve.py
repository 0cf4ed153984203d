"""`trtllm-serve`: the command line, then the server.

A click group whose default command is `serve`: `trtllm-serve MODEL …` works, and click's own
errors (exit code 2) are the real ones. Anything raised later is a traceback and exit code 1.
"""

from typing import Any

import click

from ..options import SUBCOMMANDS, Option, options_of
from ..version import current


def _option(option: Option, version: str) -> click.Option:
    names = [f"--{name}" for name in option.names(version)]
    if option.kind == "flag":
        return click.Option([option.name, *names], is_flag=True, default=False)
    kinds: dict[str, Any] = {"int": click.INT, "float": click.FLOAT, "str": click.STRING,
                             "path": click.Path(dir_okay=True)}  # fmt: skip
    kind = click.Choice(option.kind) if isinstance(option.kind, tuple) else kinds[option.kind]
    return click.Option(
        [option.name, *names],
        type=kind,
        default=None if option.repeated else option.default,
        multiple=option.repeated,
        show_default=True,
    )


class DefaultGroup(click.Group):
    """A group that takes an unknown first word for the model of its command `serve`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Insert `serve` where no command is named (an option in that place is an error)."""
        if args and args[0] not in self.commands:
            args = ["serve", *args]
        return super().resolve_command(ctx, args)


def command_line(version: str) -> click.Group:
    """The commands of one release."""
    group = DefaultGroup("trtllm-serve")
    parameters: list[click.Parameter] = [click.Argument(["model"])]
    parameters += [_option(option, version) for option in options_of(version)]
    group.add_command(
        click.Command(
            "serve", callback=_serve, params=parameters, help="Running an OpenAI API compatible server"
        )
    )
    for name in SUBCOMMANDS[1:]:
        group.add_command(click.Command(name, callback=_not_simulated, help="Not simulated"))
    return group


def engine_values(values: dict[str, Any], given: set[str]) -> tuple[dict[str, Any], set[str]]:
    """Command-line values and the given ones among them, by the engine's argument names."""
    fields = {option.name: option.field for option in options_of(current()) if option.field}
    by_field = {fields[name]: value for name, value in values.items() if name in fields}
    return by_field, {fields[name] for name in given if name in fields}


def _not_simulated() -> None:
    raise click.ClickException("this command is not simulated")


@click.pass_context
def _serve(ctx: click.Context, /, **values: Any) -> None:  # click's values
    explicit = click.core.ParameterSource.COMMANDLINE
    given = {name for name in values if ctx.get_parameter_source(name) is explicit}
    from ..serve.launch import launch  # command-line errors need no server

    launch(values, given)


def main() -> int:
    """Entry point."""
    command_line(current()).main(prog_name="trtllm-serve")
    return 0
