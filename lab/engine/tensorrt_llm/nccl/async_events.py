"""NCCL's asynchronous events: what happens to a port while a rank uses it, as its own thread prints it.

The adapter reports an event; NCCL prints a warning and goes on. Here a thread looks at the simulated sysfs
instead: a port that went down or came up, and a changed GID table.
"""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .devices import Machine
from .log import ASYNC_EVENT, GID_EVENT, Log
from .transport import Rail

LOOK_SECONDS = 0.5
#: libibverbs' numbers of its events, and its words for them.
PORT_ACTIVE, PORT_ERROR, GID_CHANGE = (9, "port active"), (10, "port error"), 18


@dataclass(frozen=True)
class Port:
    """What can change."""

    active: bool
    gids: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, folder: Path) -> "Port":
        """From a port's folder in sysfs, which may be half written."""
        table = []
        for file in sorted(folder.glob("gids/*")):
            with contextlib.suppress(OSError):
                table.append((file.name, file.read_text().strip()))
        state = ""
        with contextlib.suppress(OSError):
            state = (folder / "state").read_text()
        return cls("ACTIVE" in state, tuple(table))


class AsyncEvents:
    """Watches the ports behind the rails until it is closed."""

    def __init__(self, rails: Sequence[Rail], log: Log, machine: Machine | None = None) -> None:
        root = (machine or Machine()).sys / "class/infiniband"
        self._log = log
        self._folders = {
            rail.device: root / rail.device.replace(":", "/ports/") for rail in rails if rail.device
        }
        self._seen = {device: Port.read(folder) for device, folder in self._folders.items()}
        self._closed = threading.Event()

    def start(self) -> None:
        """Watch in the background; the thread ends with the process."""
        if self._folders:
            threading.Thread(target=self._run, daemon=True, name="NCCL IbAsync").start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def look(self) -> None:
        """Print what changed since the last time."""
        for device, folder in self._folders.items():
            before, now = self._seen[device], Port.read(folder)
            self._seen[device] = now
            if now.active != before.active:
                number, words = PORT_ACTIVE if now.active else PORT_ERROR
                self._port(device, number, words)
            if now.gids != before.gids:
                self._gids(device)

    def _port(self, device: str, number: int, words: str) -> None:
        if self._log.version < (2, 28):
            self._log.warn(f"NET/IB : {device} Got async error event: {words}", ASYNC_EVENT)
        else:
            self._log.warn(f"NET/IB : {device} Got non-fatal async event: {words}({number})", ASYNC_EVENT)

    def _gids(self, device: str) -> None:
        """2.27 does not know this event."""
        unknown = f"unknown event type ({GID_CHANGE})"
        text = unknown if self._log.version < (2, 28) else "GID table changed"
        self._log.warn(f"NET/IB : {device} {text}", GID_EVENT)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self.look()
