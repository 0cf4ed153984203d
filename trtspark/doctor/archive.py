"""One archive for an issue: the report and what it was made of, with everything private taken out."""

from __future__ import annotations

import io
import json
import platform
import tarfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ConfigError, TrtSparkError
from cluster.redaction import Redaction
from cluster.secret_forms import REMOVED
from trtspark.doctor.gather import Gathered

if TYPE_CHECKING:
    from remote.ssh import Connection
    from trtspark.project import Stack

LOG_LINES = 1000
#: Of each rank, the container that runs and those that ended before it.
CONTAINERS = 3
_PACKAGES = ("pulumi", "pulumi-command", "pulumi-docker", "docker", "huggingface-hub", "typer", "rich")


def write(path: Path, stack: Stack, found: Gathered) -> None:
    """Pack the archive. Raises ConfigError when a file is there already: it is never overwritten."""
    files = contents(stack, found)
    pack(path, files)


def contents(stack: Stack, found: Gathered) -> dict[str, str]:
    """Every file of the archive, redacted: name -> text."""
    redaction = Redaction(_secrets(stack))
    documents: dict[str, Any] = {
        "doctor.json": found.report.document(),
        "config.json": _config(stack),
        "outputs.json": dict(found.outputs),
        "versions.json": _versions(stack),
        **{f"nodes/{host}/probe.json": document for host, document in found.probes.items()},
        **{f"nodes/{host}/live.json": document for host, document in found.machines.items()},
    }
    texts = {name: json.dumps(redaction.data(one), indent=1, default=str) for name, one in documents.items()}
    return texts | {name: redaction.text(text) for name, text in _logs(stack, found).items()}


def pack(path: Path, files: Mapping[str, str]) -> None:
    """A .tar.gz of `files`, readable by its owner only, in one folder."""
    folder = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz") or "report"
    try:
        with path.open("xb") as handle, tarfile.open(fileobj=handle, mode="w:gz") as archive:
            path.chmod(0o600)
            for name, text in sorted(files.items()):
                data = text.encode()
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
    except FileExistsError:
        raise ConfigError(f"{path} is there already. Name another file, or remove it.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}). Name another file.") from None


def _secrets(stack: Stack) -> list[str]:
    """Every value that the configuration keeps secret, and the tokens of this machine's environment."""
    from remote import hub_token

    known = [str(entry.value) for entry in stack.config.values() if entry.secret]
    return [*known, *hub_token.lines_here()]


def _config(stack: Stack) -> dict[str, Any]:
    return {key: REMOVED if entry.secret else entry.value for key, entry in stack.config.items()}


def _versions(stack: Stack) -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["pulumi command"] = str(stack.pulumi.workspace.pulumi_version)
    return found


def _logs(stack: Stack, found: Gathered) -> dict[str, str]:
    """The last lines of every rank's containers: name -> text. What cannot be read is left out."""
    import requests

    from remote.engine import connect

    texts: dict[str, str] = {}
    try:
        connections: Sequence[Connection] = stack.connections
    except TrtSparkError:
        return {}
    reached = {facts.node for facts in found.facts if not facts.docker.problem}
    for rank, connection in enumerate(connections):
        if connection.host not in reached:
            continue
        try:
            texts |= _of_node(connect(connection), stack.name, rank)
        except (TrtSparkError, requests.RequestException):
            continue
    return texts


def _of_node(client: Any, stack: str, rank: int) -> dict[str, str]:
    from remote import logs

    found = logs.containers(client, stack, rank)[:CONTAINERS]
    return {
        f"logs/rank-{rank}/{one.id[:12]}{'' if one.running else f'-ended-{one.code}'}.log": "\n".join(
            logs.read(client, one.id, LOG_LINES)
        )
        for one in found
    }
