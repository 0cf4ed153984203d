"""NCCL's own log lines: `host:pid:tid [cudaDev] NCCL INFO …`, by NCCL_DEBUG."""

import os
import socket
import threading
from collections.abc import Mapping
from typing import Literal

_LEVELS = {"VERSION": 1, "WARN": 2, "INFO": 3, "TRACE": 4}


class NcclError(Exception):
    """A failed NCCL call; `result` is the text of its result code."""

    def __init__(self, result: str) -> None:
        hint = " (run with NCCL_DEBUG=INFO for details)" if "system" in result else ""
        hint = " (run with NCCL_DEBUG=WARN for details)" if "usage" in result else hint
        super().__init__(f"{result}{hint}")


SYSTEM, USAGE, REMOTE = (
    "unhandled system error",
    "invalid usage",
    "remote process exited or there was a network error",
)


class Log:
    """Prints what the level lets through."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._level = _LEVELS.get(environment.get("NCCL_DEBUG", "").upper(), 0)
        chosen = environment.get("NCCL_DEBUG_SUBSYS", "").upper()
        words = {word for word in chosen.removeprefix("^").split(",") if word}
        self._all_but = chosen.startswith("^") or "ALL" in words
        self._subsystems = (words - {"ALL"}) or ({"INIT", "BOOTSTRAP", "ENV"} if not self._all_but else set())

    def version(self, text: str) -> None:
        """The one line that has no prefix."""
        if self._level >= 1:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """A failure."""
        self._write(2, "WARN", text)

    def info(self, text: str, *subsystems: str) -> None:
        """What was chosen; printed if NCCL_DEBUG_SUBSYS lets one of the line's subsystems through."""
        named = set(subsystems or ("INIT",))
        if named - self._subsystems if self._all_but else named & self._subsystems:
            self._write(3, "INFO", text)

    def _write(self, level: int, word: Literal["WARN", "INFO"], text: str) -> None:
        if self._level >= level:
            place = f"{socket.gethostname()}:{os.getpid()}:{threading.get_native_id()}"
            print(f"{place} [0] NCCL {word} {text}", flush=True)
