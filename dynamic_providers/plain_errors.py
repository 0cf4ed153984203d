"""Errors as people read them: one sentence with the machine, whatever a library raised; and outputs, which
Pulumi prints, too.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

#: A provider's methods that change or read machines.
METHODS = ("create", "update", "read", "delete")
_SHOWN_CHARS = 200
_AGAIN = "Run the same again."
_CHECK = "Check that the machine is on and that its network works."
_REPORT = "If it happens again, report this line."
_ROOT = Path(__file__).parents[1]
#: Where a resource's properties name its machine, the nearest first.
_HOSTS = ("connection", "node", "manager")


def plain(provider: type) -> None:
    """Make every method of `provider` (a class) that works on machines raise our own errors only, and what it
    learns on them be harmless to a terminal.
    """
    for name in METHODS:
        if name in vars(provider):
            setattr(provider, name, _wrapped(vars(provider)[name]))


def _wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        try:
            return _harmless(method(self, *args), args)
        except Exception as error:
            message = foreign(error, args)
            if not message:
                raise
        from cluster.errors import TrtSparkError

        raise TrtSparkError(message)  # outside of the except clause: Python shows no chain

    return call


def _harmless(result: Any, args: Sequence[Any]) -> Any:
    """`result` of a create or an update with plain texts in its outputs. Inputs stay as they were given, for
    the next comparison, and so does what a read finds: it has to differ where a machine does.
    """
    from pulumi.dynamic import CreateResult, UpdateResult

    from cluster.plain_text import plain_data

    if isinstance(result, CreateResult | UpdateResult) and result.outs:
        given = args[-1] if isinstance(args[-1], Mapping) else {}
        result.outs = {
            key: value if key in given and given[key] == value else plain_data(value)
            for key, value in result.outs.items()
        }
    return result


def foreign(error: Exception, args: Sequence[Any]) -> str:
    """The message for an error of a library or of Python; "" for one of ours, which has its own.

    `args`: what the provider's method was called with. The last dictionary has the resource's properties.
    """
    from cluster.errors import TrtSparkError

    if isinstance(error, TrtSparkError):
        return ""
    from remote.engine import DockerRefused

    if isinstance(error, DockerRefused):
        return f"{error} {_AGAIN}"
    what, todo = _cause(error)
    return f"{_host(args)}{what} ({type(error).__name__}{_place(error.__traceback__)}). {todo}"


def _cause(error: Exception) -> tuple[str, str]:
    from docker.errors import APIError, DockerException
    from requests import RequestException, Timeout

    said = " ".join(str(error).split())[:_SHOWN_CHARS].rstrip(".")
    if isinstance(error, APIError):
        return said, _AGAIN
    if isinstance(error, subprocess.TimeoutExpired | TimeoutError | Timeout):
        return "no answer in time", f"{_CHECK} {_AGAIN}"
    if isinstance(error, RequestException | DockerException | ConnectionError):
        return "the connection broke", f"{_CHECK} {_AGAIN}"
    if isinstance(error, OSError):
        return said or "the operating system refused", _AGAIN
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError):
        return f"unexpected answer: {said}", f"{_AGAIN} {_REPORT}"
    return said or "it failed", f"{_AGAIN} {_REPORT}"


def _host(args: Sequence[Any]) -> str:
    known = next((each for each in reversed(args) if isinstance(each, Mapping)), {})
    for key in _HOSTS:
        found = known.get(key)
        if isinstance(found, Mapping) and found.get("host"):
            return f"{found['host']}: "
    return ""


def _place(trace: TracebackType | None) -> str:
    """ ", FILE:LINE" of the last frame of this program's own."""
    found = ""
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and ".venv" not in path.parts:
            found = f", {path.relative_to(_ROOT)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
