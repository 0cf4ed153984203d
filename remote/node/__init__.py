"""Programs that run on the nodes: standard-library Python, sent over ssh's standard input.

Each module here offers `look(args) -> dict` or `main(args) -> dict`, takes and returns plain JSON, and
needs nothing installed on the node but its own `python3` (a Spark has 3.12). Nothing is left behind.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib import resources
from typing import Any

_RUN = """
import json, sys
args = json.loads(sys.argv[1])
answer = {}
try:
    for name, entry in ENTRIES.items():
        space = {"__name__": name}
        exec(compile(SOURCES[name], name + ".py", "exec"), space)
        answer[name] = space[entry]({**args.get(name, {}), **SECRETS.get(name, {})})
except Exception as error:
    if type(error).__name__ != "Stop":
        raise
    sys.exit(str(error))
print(json.dumps(answer, sort_keys=True))
"""


def program(secrets: Mapping[str, Mapping[str, Any]] | None = None, /, **entries: str) -> str:
    """The text for `python3 -`: runs `entry` of each named module and prints one JSON object.

    `secrets`: more arguments by module, which travel in the text and so on standard input, not in argv.

    `program(probe="look")` prints `{"probe": …}`. A module that raises its own `Stop` ends the program
    with that sentence on standard error and exit code 1.
    """
    sources = {name: _source(name) for name in entries}
    hidden = {name: dict(values) for name, values in (secrets or {}).items()}
    return f"SOURCES = {sources!r}\nENTRIES = {entries!r}\nSECRETS = {hidden!r}\n{_RUN}"


def command(args: dict[str, Any]) -> str:
    """The command line that runs a `program` given on its standard input; `args` is never secret."""
    return "LC_ALL=C python3 -I -S - " + shlex.quote(json.dumps(args, sort_keys=True))


def _source(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")


def answer(out: str) -> dict[str, Any]:
    """What a `program` printed: the last line, whatever a login script said before it.

    Raises ValueError when that is no JSON, as under a login that allows one command only.
    """
    found: dict[str, Any] = json.loads((out.strip().splitlines() or [""])[-1])
    return found


def public_key(out: str) -> str:
    """The public half from mpi_key's answer, "ssh-ed25519 base64"."""
    return str(answer(out)["mpi_key"]["public"])
