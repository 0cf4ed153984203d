"""NCCL's own log lines, as `ncclDebugLog` of the version in the image prints them, by NCCL_DEBUG.

    host:pid:tid [cudaDev] NCCL INFO …
    (an empty line)
    [time] host:pid:tid [cudaDev] FILE:LINE NCCL WARN …               up to 2.29
    [time] host:pid:tid [cudaDev] FILE:LINE (function) NCCL WARN …    from 2.30 on

Source: debug.cc of NCCL 2.27.7, 2.28.9, 2.29.7 and 2.30.7, and output of 2.28.9 recorded on real GPUs.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

_LEVELS = {"VERSION": 1, "WARN": 2, "INFO": 3, "ABORT": 4, "TRACE": 5}
NEWEST = "2.28.9"
"""Of the image versions that are simulated most."""


class Source(NamedTuple):
    """Where a warning is printed: `FILE:LINE` in 2.27.7, 2.28.9 and 2.30.7, and the function."""

    in_2_27: str
    in_2_28: str
    in_2_30: str
    function: str


NO_INTERFACE = Source("bootstrap.cc:115", "bootstrap.cc:114", "bootstrap.cc:126", "bootstrapNetInit")
NO_PLUGIN = Source("plugin/net.cc:278", "plugin/net.cc:379", "plugin/net.cc:349", "ncclNetInit")
OPEN_CALL = Source(
    "misc/ibvwrap.cc:126", "misc/ibvwrap.cc:127", "misc/ibvwrap.cc:131", "wrap_ibv_open_device"
)
OPEN_DEVICE = Source(
    "transport/net_ib.cc:649",
    "transport/net_ib.cc:715",
    "transport/net_ib/init.cc:334",
    "ncclIbInitDevices",
)
MODIFY_QP = Source("misc/ibvwrap.cc:301", "misc/ibvwrap.cc:307", "misc/ibvwrap.cc:376", "wrap_ibv_modify_qp")
COMPLETION = Source(
    "transport/net_ib.cc:2458",
    "transport/net_ib.cc:2543",
    "transport/net_ib/p2p.cc:688",
    "ncclIbLogCompletionWithError",
)
ASYNC_EVENT = Source(
    "transport/net_ib.cc:199",
    "transport/net_ib.cc:253",
    "transport/net_ib/common.cc:179",
    "ncclIbAsyncThreadMain",
)
GID_EVENT = Source(
    "transport/net_ib.cc:204",
    "transport/net_ib.cc:239",
    "transport/net_ib/common.cc:153",
    "ncclIbAsyncThreadMain",
)
SOCKET_CALL = Source("misc/socket.cc:578", "misc/socket.cc:582", "os/linux.cc:288", "socketConnectCheck")
LISTEN = Source("misc/socket.cc:409", "misc/socket.cc:413", "os/linux.cc:137", "ncclSocketListen")


def numbers(version: str) -> tuple[int, ...]:
    """`2.28.9+cuda13.1` -> (2, 28, 9)."""
    return tuple(int(part) for part in version.partition("+")[0].split("."))


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

    def __init__(self, environment: Mapping[str, str] = os.environ, version: str = NEWEST) -> None:
        self.version = numbers(version)
        self._level = _LEVELS.get(environment.get("NCCL_DEBUG", "").upper(), 0)
        chosen = environment.get("NCCL_DEBUG_SUBSYS", "").upper()
        words = {word for word in chosen.removeprefix("^").split(",") if word}
        self._all_but = chosen.startswith("^") or "ALL" in words
        self._subsystems = (words - {"ALL"}) or ({"INIT", "BOOTSTRAP", "ENV"} if not self._all_but else set())
        self._stamped = _stamped(environment.get("NCCL_DEBUG_TIMESTAMP_LEVELS", "WARN"))
        self._stamp = environment.get("NCCL_DEBUG_TIMESTAMP_FORMAT", "[%F %T] ")

    def first_line(self, text: str) -> None:
        """The version, the one line that has no prefix."""
        if self._level >= 1:
            print(text, flush=True)

    def warn(self, text: str, source: Source) -> None:
        """A failure."""
        place = source[0 if self.version < (2, 28) else 1 if self.version < (2, 30) else 2]
        function = f" ({source.function})" if self.version >= (2, 30) else ""
        self._write("WARN", f" {place}{function}", text)

    def info(self, text: str, *subsystems: str) -> None:
        """What was chosen; printed if NCCL_DEBUG_SUBSYS lets one of the line's subsystems through."""
        named = set(subsystems or ("INIT",))
        if named - self._subsystems if self._all_but else named & self._subsystems:
            self._write("INFO", "", text)

    def _write(self, level: Literal["WARN", "INFO"], place: str, text: str) -> None:
        if self._level < _LEVELS[level]:
            return
        first = "\n" if level == "WARN" else ""
        stamp = time.strftime(self._stamp) if level in self._stamped else ""
        host = socket.gethostname().partition(".")[0]
        writer = f"{host}:{os.getpid()}:{threading.get_native_id()} [0]"
        print(f"{first}{stamp}{writer}{place} NCCL {level} {text}", flush=True)


def _stamped(text: str) -> set[str]:
    """The levels of NCCL_DEBUG_TIMESTAMP_LEVELS: `WARN,INFO`, `ALL`, or `^` and those that have no stamp."""
    named = {word.strip().upper() for word in text.removeprefix("^").split(",")}
    named = set(_LEVELS) if "ALL" in named else named
    return set(_LEVELS) - named if text.startswith("^") else named
