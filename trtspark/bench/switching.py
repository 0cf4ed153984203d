"""Serving another model for a while: the stack's own file of configuration is never touched.

`pulumi up --config-file` takes a copy with another model in it; the last `up` has the stack's own file again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config import Settings
from cluster.errors import ConfigError, TrtSparkError
from cluster.other_model import OF_THE_MODEL, with_model
from cluster.plain_text import plain
from trtspark.project import PROJECT, Stack

if TYPE_CHECKING:
    from remote.ssh import Connection

#: Colours in the engine's messages.
_COLOUR = re.compile(r"<\{%.*?%\}>")


class SwitchFailed(TrtSparkError):
    """`pulumi up` did not get the model to serve; the first error's own words."""


@dataclass(frozen=True)
class Variant:
    """The stack while it serves another model."""

    name: str
    settings: Settings
    outputs: Mapping[str, Any]
    connections: Sequence[Connection]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def endpoint(self) -> str:
        """The API's URL."""
        return str(self.outputs["endpoint"])


def settings_for(settings: Settings, model: str, single_node: bool) -> Settings:
    """The stack's with this model, on all its nodes or on the head alone."""
    alone = {"head_only": True, "tensor_parallel": None} if single_node else {}
    return with_model(settings, model, running=True, **alone)


def config_for(
    content: Mapping[str, Any], settings: Settings, model: str, single_node: bool
) -> dict[str, Any]:
    """The stack's file with the same changes."""
    config = dict(content.get("config") or {})
    config[f"{PROJECT}:model"] = model
    dropped = ["running"]
    if model != settings.model:
        dropped += OF_THE_MODEL
    if single_node:
        config[f"{PROJECT}:headOnly"] = True
        dropped.append("tensorParallel")
    for key in dropped:
        config.pop(f"{PROJECT}:{key}", None)
    return {**content, "config": config}


def up(stack: Stack, model: str, single_node: bool, log: Path) -> Variant:
    """Serve `model`. Raises SwitchFailed. The engine's own output goes to the end of `log`."""
    from remote.logins import connections

    source = stack.folder / f"Pulumi.{stack.name.split('/')[-1]}.yaml"
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{source} cannot be read: {error}") from None
    changed = settings_for(stack.settings, model, single_node)
    with tempfile.TemporaryDirectory(prefix="trtspark-") as folder:
        file = Path(folder) / source.name
        file.write_text(
            yaml.safe_dump(config_for(content, stack.settings, model, single_node)), encoding="utf-8"
        )
        outputs = _up(stack, str(file), log)
    return Variant(stack.name, changed, outputs, connections(changed), stack.secrets)


def restore(stack: Stack, log: Path) -> None:
    """Serve what the stack's own file says. Raises SwitchFailed.

    In a session of its own, which a terminal's Ctrl-C does not reach: pulumi would take it for a wish to
    stop, even where the signal is blocked.
    """
    words = [sys.executable, "-m", __name__, str(stack.folder), stack.name, str(log)]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SwitchFailed(said[-1])


def _up(stack: Stack, config_file: str | None, log: Path) -> dict[str, Any]:
    from pulumi import automation

    errors: list[str] = []

    def heard(event: automation.EngineEvent) -> None:
        said = event.diagnostic_event
        if said is not None and said.severity == "error":
            errors.append(_COLOUR.sub("", said.message).strip())

    with log.open("a", encoding="utf-8") as text:
        try:
            done = stack.pulumi.up(
                config_file=config_file,
                color="never",
                on_output=lambda line: print(plain(line), file=text, flush=True),
                on_event=heard,
                suppress_progress=True,
            )
        except automation.CommandError as error:
            raise SwitchFailed(_cause(errors, str(error))) from None
    return {name: one.value for name, one in done.outputs.items() if not one.secret}


def _cause(errors: Sequence[str], otherwise: str) -> str:
    """The first error that says something; Pulumi's own last is that it failed."""
    for text in errors:
        line = next((part.strip() for part in text.splitlines() if part.strip()), "")
        if line and line not in ("update failed", "preview failed"):
            return line.removeprefix("error: ")
    lines = [line.strip() for line in otherwise.splitlines() if "error:" in line]
    return lines[0].partition("error:")[2].strip() if lines else "pulumi up failed"


def main(folder: str, name: str, log: str) -> None:
    """What `restore` starts."""
    try:
        _up(Stack(Path(folder), name), None, Path(log))
    except TrtSparkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
