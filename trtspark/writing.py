"""Changing a stack's configuration, through Pulumi and only what differs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.errors import ConfigError
from trtspark.project import PROJECT, Stack, said

#: Keys that a person would not want replaced unasked are none of ours: only these are ever written.
SECRET = "hfToken"  # the key's name, and no secret


def changes(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of `wanted` differs from `before`; None takes a key away."""
    return {key: value for key, value in wanted.items() if before.get(key) != value}


def write(stack: Stack, found: Mapping[str, Any]) -> None:
    """Set each key by its name without the project; None removes it. Values are never secrets."""
    from pulumi import automation

    assert SECRET not in found
    entries = {
        f"{PROJECT}:{key}": {"value": _text(value), "secret": False, **_object(value)}
        for key, value in found.items()
        if value is not None
    }
    try:
        if entries:
            stack.pulumi.set_all_config_json(json.dumps(entries))
        for key, value in found.items():
            if value is None:
                stack.pulumi.remove_config(f"{PROJECT}:{key}")
    except automation.CommandError as error:
        raise ConfigError(f"stack {stack.name}: {said(error)}") from None
    stack.forget()


def secret(folder: Path, stack: str, key: str, value: str | None) -> None:
    """Set a secret. Without a `value` Pulumi asks for it on the terminal; it never goes through argv."""
    words = ["pulumi", "config", "set", "--secret", key, "--stack", stack]
    done = subprocess.run(words, cwd=folder, input=value, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"stack {stack}: pulumi did not take {key}. `pulumi config set --secret {key}`.")


def create(folder: Path, name: str, interactive: bool) -> None:
    """Make the stack. On a terminal Pulumi asks for a passphrase itself, where it wants one."""
    words = ["pulumi", "stack", "init", name, *([] if interactive else ["--non-interactive"])]
    done = subprocess.run(
        words,
        cwd=folder,
        stdin=None if interactive else subprocess.DEVNULL,
        capture_output=not interactive,
        text=True,
        check=False,
    )
    if done.returncode:
        why = f" {said(done.stderr)}" if done.stderr else ""
        raise ConfigError(f"pulumi did not make stack {name}.{why}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _object(value: Any) -> dict[str, Any]:
    return {"objectValue": value} if isinstance(value, list | dict) else {}
