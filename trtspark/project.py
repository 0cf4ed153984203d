"""The stack a command is about: its configuration and outputs, read from Pulumi each time.

There is no second configuration. Reading is one `pulumi` process for the configuration and one for the
state; what changes things goes through the automation API, which takes longer to load than a read to run.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ConfigError

if TYPE_CHECKING:
    from pulumi import automation

    from cluster.config import Settings
    from cluster.spec_drift import Given
    from remote.ssh import Connection

PROJECT = "trtllm-dgx-spark"
#: How Pulumi says that it knows no backend: with a terminal it would ask.
_LOGGED_OUT = re.compile(
    "PULUMI_ACCESS_TOKEN must be set|not logged in|could not determine current backend", re.I
)
#: The key by which Pulumi's state marks a value that is encrypted (sig.Key in its SDK).
_SIGNATURE = "4dabf18193072939515e22adb298388d"


@dataclass(frozen=True)
class Choice:
    """What the command line says of the stack; None: what Pulumi has selected, in this folder."""

    stack: str | None = None
    project: Path | None = None

    def folder(self) -> Path:
        """The project's folder. Raises ConfigError when there is none here."""
        return _folder(self.project)

    def open(self) -> Stack:
        """The stack. Raises ConfigError when there is no project or no such stack here."""
        folder = self.folder()
        return Stack(folder, self.stack or _selected(folder))


@dataclass(frozen=True)
class Entry:
    """A key's value as Pulumi stores it; a secret one is decrypted: never print it."""

    value: str = field(repr=False)
    secret: bool


class Stack:
    """One stack. Properties ask Pulumi once and remember."""

    def __init__(self, folder: Path, name: str) -> None:
        """`folder` is where Pulumi.yaml is."""
        self.folder, self.name = folder, name
        self.asked_at = time.monotonic()

    @cached_property
    def pulumi(self) -> automation.Stack:
        """The automation API's handle, for what changes things."""
        from pulumi import automation

        try:
            workspace = automation.LocalWorkspace(work_dir=str(self.folder), pulumi_command=_cli())
            return automation.Stack.select(self.name, workspace)
        except automation.StackNotFoundError:
            raise ConfigError(
                f"there is no stack {self.name} in {self.folder}. `pulumi stack ls` lists them; "
                f"`trtspark init` makes one."
            ) from None
        except automation.CommandError as error:
            raise ConfigError(f"stack {self.name}: {said(error)}") from None

    @cached_property
    def config(self) -> Mapping[str, Entry]:
        """Every key as Pulumi stores it, `project:key`; secrets are decrypted."""
        found = json.loads(self._asked("config", "--show-secrets", "--json"))
        return {key: Entry(str(one.get("value", "")), bool(one["secret"])) for key, one in found.items()}

    @cached_property
    def resources(self) -> list[dict[str, Any]]:
        """What the state holds. Secrets in it stay encrypted."""
        deployment = json.loads(self._asked("stack", "export")).get("deployment") or {}
        return deployment.get("resources") or []

    def _asked(self, *words: str) -> str:
        """What `pulumi` prints about this stack. Raises ConfigError with what is wrong with it."""
        try:
            return _command().run([*words, "--stack", self.name], cwd=self.folder).stdout
        except _Failed as error:
            _ = self.pulumi  # which says what is wrong where there is no such stack
            raise ConfigError(f"stack {self.name}: {said(error)}") from None

    @property
    def secrets(self) -> dict[str, str]:
        """The values that were set with --secret, decrypted, by their keys without the project."""
        found = {key: entry for key, entry in self.config.items() if entry.secret}
        return {key.removeprefix(f"{PROJECT}:"): str(entry.value) for key, entry in found.items()}

    @cached_property
    def settings(self) -> Settings:
        """The configuration, checked. Raises ConfigError as `pulumi preview` would."""
        from cluster.config import load

        config = self.config
        raw = {key: str(entry.value) for key, entry in config.items()}
        return load(raw, PROJECT, lambda key: bool(config[key].secret))

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """What the last `up` left; {} when nothing was deployed. Secret outputs are left out."""
        root = next((one for one in self.resources if one["type"] == "pulumi:pulumi:Stack"), {})
        found = root.get("outputs") or {}
        return {name: value for name, value in found.items() if not _secret(value)}

    @cached_property
    def services(self) -> list[Given]:
        """The ranks' services as the last `up` gave them to Swarm."""
        from cluster.spec_drift import of_state

        return of_state(self.resources)

    @cached_property
    def connections(self) -> list[Connection]:
        """A login per active node, head first."""
        from remote.logins import connections

        return connections(self.settings)

    def raw(self, key: str) -> Any:
        """A key as it is written, structured values as data; None when it is not set."""
        entry = self.config.get(f"{PROJECT}:{key}")
        if entry is None:
            return None
        text = str(entry.value)
        if text.startswith(("[", "{")):
            with suppress(ValueError):
                return json.loads(text)
        return {"true": True, "false": False}.get(text, text)

    def forget(self) -> None:
        """Ask Pulumi again next time: the configuration was changed, or what is deployed."""
        for name in ("config", "settings", "connections", "resources", "outputs", "services"):
            self.__dict__.pop(name, None)
        self.asked_at = time.monotonic()

    def endpoint(self) -> str:
        """The API's URL. Raises ConfigError while nothing is deployed."""
        found = self.outputs.get("endpoint")
        if not found:
            raise ConfigError(f"stack {self.name} has no endpoint yet. `pulumi up` makes one.")
        return str(found)


def _folder(given: Path | None) -> Path:
    start = (given or Path.cwd()).resolve()
    candidates = [start] if given else [start, *start.parents]
    for folder in candidates:
        file = folder / "Pulumi.yaml"
        if file.is_file() and f"name: {PROJECT}" in file.read_text(encoding="utf-8"):
            return folder
    raise ConfigError(
        f"{start} is no {PROJECT} project (its Pulumi.yaml). Go to the checkout, or give it with --project."
    )


@cache
def _cli() -> automation.PulumiCommand:
    """The CLI, asked for its version once: each question is a process of a quarter of a second."""
    from pulumi import automation

    return automation.PulumiCommand()


def exists(folder: Path, name: str) -> bool:
    """Whether Pulumi has this stack. Raises ConfigError when Pulumi cannot say, as before a login."""
    from pulumi import automation

    try:
        listed = automation.LocalWorkspace(work_dir=str(folder)).list_stacks()
    except automation.CommandError as error:
        raise ConfigError(said(error)) from None
    return any(one.name.rpartition("/")[2] == name.rpartition("/")[2] for one in listed)


def _selected(folder: Path) -> str:
    try:
        done = _command().run(["stack", "ls", "--json"], cwd=folder)
    except _Failed as error:
        raise ConfigError(said(error)) from None
    found = next((one["name"] for one in json.loads(done.stdout) if one.get("current")), None)
    if found is None:
        raise ConfigError(
            "no stack is selected. `trtspark init` makes one, `pulumi stack select NAME` chooses one, and "
            "--stack NAME names one."
        )
    return str(found)


class _Failed(Exception):
    """`pulumi` ended with an error; the text is what it said."""


class _Command:
    """The CLI, for questions."""

    def run(self, words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """`pulumi WORDS` in a project's folder, which asks a person nothing. Raises _Failed."""
        command = ["pulumi", *words, "--non-interactive"]
        try:
            return subprocess.run(
                command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
            )
        except subprocess.CalledProcessError as error:
            raise _Failed(error.stderr) from None
        except FileNotFoundError:
            raise ConfigError(
                'the program pulumi is not on PATH. In the checkout, `eval "$(scripts/env)"` puts it there.'
            ) from None


def _command() -> _Command:
    return _Command()


def _secret(value: Any) -> bool:
    """Whether a value of the state is encrypted, or holds one that is."""
    if isinstance(value, dict):
        return _SIGNATURE in value or any(_secret(one) for one in value.values())
    return isinstance(value, list) and any(_secret(one) for one in value)


def said(error: Exception | str) -> str:
    """The CLI's own last words, without the automation API's frame around them."""
    if _LOGGED_OUT.search(str(error)):
        return "Pulumi is not logged in. Run `pulumi login --local`, which keeps its state on this machine."
    lines = [line.strip() for line in str(error).splitlines()]
    words = [line for line in lines if line.startswith("error:")] or [line for line in lines if line]
    return words[-1].removeprefix("error:").strip() if words else "pulumi failed"
