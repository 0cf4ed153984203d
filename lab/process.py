"""Long-running processes: started, recognised later by id and start time, ended."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.shell import missing
from lab.state import write_json
from lab.waiting import until


@dataclass(frozen=True)
class Process:
    """`started` (clock ticks since boot) tells it from a later process with the same id."""

    pid: int
    started: int

    def alive(self) -> bool:
        fields = _stat(self.pid)
        return fields is not None and fields[0] != "Z" and int(fields[19]) == self.started

    def kill(self, what: str, deadline: float = 10.0) -> None:
        """SIGKILL it and wait until it is gone; `what` names it in the error.

        Raises:
            LabError: it is still there after `deadline` seconds.
        """
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        until(
            lambda: "it is still there" if self.alive() else None,
            f"{what} (process {self.pid}) to end",
            deadline,
            pause=0.01,
            hint="Is it waiting for a disk?",
        )


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start(command: Sequence[str | Path], record: Path, log: Path, environment: Mapping[str, str]) -> Process:
    """Start `command` in a session of its own, with its output in `log`, and write `record`.

    Raises:
        LabError: there is no such command.
    """
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise missing(str(command[0])) from error
    process = identify(child.pid)
    child.returncode = 0  # it lives longer than this command: no warning about a running child
    write_json(record, asdict(process))
    return process


def identify(pid: int) -> Process:
    """Return the process that has this id now; it counts as dead when there is none."""
    fields = _stat(pid)
    return Process(pid, int(fields[19]) if fields else -1)


def recorded(record: Path) -> Process | None:
    """Return the living process of a record, else None."""
    try:
        process = Process(**json.loads(record.read_text()))
    except (FileNotFoundError, ValueError):
        return None
    return process if process.alive() else None


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
