"""Building an image from a local folder by the Engine's classic builder, for RemoteImage's `build`.

Of the vendor's forty settings, those that a thin image on top of another one needs.
"""

import json
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from plugins.docker.api import Engine
from plugins.provider import Call, Failure, OperationError
from plugins.wire import Properties, Value, revealed

# Input -> the API's parameter, by kind of value.
TEXTS = {"networkMode": "networkmode", "platform": "platform", "target": "target"}
SWITCHES = {"forceRemove": "forcerm", "noCache": "nocache", "pullParent": "pull", "remove": "rm"}
MAPS = {"buildArgs": "buildargs", "labels": "labels"}
OTHERS = frozenset({"context", "dockerfile", "tags", "useLegacyBuilder"})
SUPPORTED = OTHERS | TEXTS.keys() | SWITCHES.keys() | MAPS.keys()


def unsupported(build: Value) -> list[Failure]:
    """Settings that only the vendor's plugin knows."""
    given = {key for key, value in revealed(build).items() if value is not None}
    return [
        Failure(f"build.{name}", "only the vendor's docker plugin knows this, not the stand-in")
        for name in sorted(given - SUPPORTED)
        if not name.startswith("__")
    ]


def build(call: Call, engine: Engine, inputs: Properties) -> None:
    """Build `inputs["build"]` under `inputs["name"]`. Raises OperationError."""
    settings = inputs["build"]
    query = [("t", name) for name in (inputs["name"], *(settings.get("tags") or []))]
    query.append(("dockerfile", settings.get("dockerfile") or "Dockerfile"))
    query += [(TEXTS[key], settings[key]) for key in TEXTS if settings.get(key)]
    switches = {"remove": True, **{k: v for k, v in settings.items() if v is not None}}
    query += [(SWITCHES[key], "1") for key in SWITCHES if switches.get(key)]
    query += [(MAPS[key], json.dumps(settings[key])) for key in MAPS if settings.get(key)]
    with tempfile.TemporaryFile() as archive:
        _pack(Path(settings["context"]), archive)
        headers = {"Content-Type": "application/x-tar"}
        with engine.stream("/build", query, headers, archive) as messages:
            for message in messages:
                if problem := message.get("error"):
                    raise OperationError(f"Error running legacy build: {problem}")
                if text := str(message.get("stream") or "").strip():
                    call.status(text)


def _pack(context: Path, archive: IO[bytes]) -> None:
    """Write the folder `context` as a tar file, ready to be read from its start."""
    if not context.is_dir():
        raise OperationError(f"Error running legacy build: {context} is no folder")
    if (context / ".dockerignore").exists():
        raise OperationError(
            f"{context}/.dockerignore: only the vendor's docker plugin knows this, not the stand-in"
        )
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(context, arcname=".")
    archive.seek(0)
