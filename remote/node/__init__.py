"""Programs that run on the nodes: standard-library Python, sent over ssh's standard input.

A module offers `look(args) -> dict` or `main(args) -> dict`, takes and returns plain JSON, and needs
nothing installed on the node but its own `python3` (a Spark has 3.12). Nothing is left behind. What a module
takes from others by `from remote.node import …` is sent with it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any

#: How a program takes from its neighbours, at the top of its text: in one line, or in parentheses.
_IMPORT = re.compile(r"(?m)^from remote\.node import (?:([\w, ]+)$|\(([\w,\s]+)\))")

#: A thread that ends by what nobody expected fails the program, which would answer without its part.
_THREADS = """
import threading
ended = []
threading.excepthook = lambda hooked: ended.append(type(hooked.exc_value).__name__)
def done():
    if ended:
        sys.exit("a part of it ended with " + ended[0])
"""

_LOAD = """
import json, sys, types
for package in ("remote", "remote.node"):
    sys.modules[package] = types.ModuleType(package)
def load(name, source):
    module = types.ModuleType("remote.node." + name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
    setattr(sys.modules["remote.node"], name, module)
    return module
"""

_RUN = """
args = json.loads(sys.argv[1])
answer = {}
try:
    for name, source in SOURCES.items():
        module = load(name, source)
        if name in ENTRIES:
            answer[name] = getattr(module, ENTRIES[name])({**args.get(name, {}), **SECRETS.get(name, {})})
except Exception as error:
    if type(error).__name__ != "Stop":
        raise
    sys.exit(str(error))
done()
print("\\n" + json.dumps(answer, sort_keys=True))
"""


def program(secrets: Mapping[str, Mapping[str, Any]] | None = None, /, **entries: str) -> str:
    """The text for `python3 -`: runs `entry` of each named module and prints one JSON object.

    `secrets`: more arguments by module, which travel in the text and so on standard input, not in argv.

    `program(probe="look")` prints `{"probe": …}`. A module that raises its own `Stop` ends the program
    with that sentence on standard error and exit code 1.
    """
    sources: dict[str, str] = {}
    for name in entries:
        _collect(name, sources)
    hidden = {name: dict(values) for name, values in (secrets or {}).items()}
    return f"SOURCES = {sources!r}\nENTRIES = {entries!r}\nSECRETS = {hidden!r}\n{_THREADS}{_LOAD}{_RUN}"


def command(args: dict[str, Any]) -> str:
    """The command line that runs a `program` given on its standard input; `args` is never secret."""
    return "LC_ALL=C python3 -I -S - " + shlex.quote(json.dumps(args, sort_keys=True))


def _collect(name: str, sources: dict[str, str]) -> None:
    """Add the module's text to `sources`, after those of the modules that it takes from here."""
    if name in sources:
        return
    text = _source(name)
    for names in _IMPORT.findall(text):
        for other in filter(None, (name.strip() for name in "".join(names).split(","))):
            _collect(other, sources)
    sources[name] = text


@cache
def _source(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")


def answer(out: str) -> dict[str, Any]:
    """What a `program` printed: the last line that is a JSON object, whatever else a login printed.

    Raises ValueError without one, as under a login that allows one command only.
    """
    return _place(out)[1]


def before_answer(out: str) -> str:
    """What the login printed before the answer: a `program` prints a line's end of its own before that."""
    return out[: _place(out)[0]].removesuffix("\n")


def _place(out: str) -> tuple[int, dict[str, Any]]:
    """Where the answer's line begins, and the answer."""
    end = len(out)
    while end >= 0:
        start = out.rfind("\n", 0, end) + 1
        if out.startswith("{", start):
            with suppress(ValueError, RecursionError):
                found: dict[str, Any] = json.loads(out[start:end])
                return start, found
        end = start - 1
    raise ValueError("no answer")


_BUNDLE = """
import json, sys, types
package = sys.modules["remote"] = types.ModuleType("remote")
package.node = sys.modules["remote.node"] = types.ModuleType("remote.node")
for name, source in SOURCES.items():
    module = types.ModuleType("remote.node." + name)
    sys.modules[module.__name__] = module
    setattr(package.node, name, module)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
try:
    answer = getattr(module, ENTRY)(json.loads(ARGS))
except Exception as error:
    if type(error).__name__ != "Stop":
        raise
    sys.exit(str(error))
done()
print("\\n" + json.dumps(answer, sort_keys=True))
"""

#: The command line that runs a `bundle` given on its standard input.
BUNDLE_COMMAND = "LC_ALL=C python3 -I -S -"


def bundle(modules: Sequence[str], entry: str, args: Mapping[str, Any]) -> str:
    """The text for `python3 -`: `modules`, each of which may import those before it, then `entry(args)`
    of the last one; its answer is printed as JSON.

    `args` travel on standard input with the program: they may be secret, and of any length.
    """
    sources = {name: _source(name) for name in modules}
    return f"SOURCES = {sources!r}\nENTRY = {entry!r}\nARGS = {json.dumps(args)!r}\n{_THREADS}{_BUNDLE}"


#: The command line of a program that answers again and again: its text is the first line of its input.
SESSION_COMMAND = "LC_ALL=C python3 -I -S -u -c 'import json, sys; exec(json.loads(sys.stdin.readline()))'"

_SESSION = """
for name, source in SOURCES.items():
    module = load(name, source)
for _ in sys.stdin:
    print(json.dumps(module.look(ARGS)), flush=True)
"""


def session(name: str, args: Mapping[str, Any]) -> str:
    """The first line for SESSION_COMMAND: each line after it is answered by `name.look(args)` as one line
    of JSON, until the input ends.
    """
    sources: dict[str, str] = {}
    _collect(name, sources)
    text = f"SOURCES = {sources!r}\n{_LOAD}ARGS = json.loads({json.dumps(args)!r})\n{_SESSION}"
    return json.dumps(text) + "\n"
