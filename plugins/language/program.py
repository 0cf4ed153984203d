"""Running a program: its command line, its environment, and an interpreter that is warm."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Lock
from typing import TYPE_CHECKING

from pulumi.runtime.proto import language_pb2

if TYPE_CHECKING:
    from plugins.language.environment import Environment

# The executor ends with this when it has already shown the user what is wrong.
SHOWN_TO_THE_USER = 32
WARM_UP = Path(__file__).with_name("warm.py")


@dataclass(frozen=True)
class Program:
    """One run: the executor's argv (without interpreter), extra environment, working folder."""

    argv: list[str]
    env: dict[str, str]
    cwd: str

    @classmethod
    def of(
        cls,
        request: language_pb2.RunRequest,
        executor: str,
        engine: str,
        environment: "Environment",
    ) -> "Program":
        """What the engine asks for, in the words of pulumi-language-python-exec."""
        options = {
            "monitor": request.monitor_address,
            "engine": engine,
            "project": request.project,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": "true" if request.dryRun else "",
            "parallel": str(request.parallel),
            "organization": request.organization,
            "root_directory": request.info.root_directory,
        }
        argv = [executor]
        for name, value in options.items():
            if value:
                argv += [f"--{name}", value]
        program = Path(request.info.program_directory, request.info.entry_point or ".")
        env = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        if environment.path:
            env["PATH"] = f"{environment.path / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        return cls([*argv, str(program), *request.args], env, request.info.program_directory)


def exit_response(status: int) -> language_pb2.RunResponse:
    """What the engine is told about a program that ended with `status` (negative: by a signal)."""
    if status == 0:
        return language_pb2.RunResponse()
    if status == SHOWN_TO_THE_USER:
        return language_pb2.RunResponse(bail=True)
    return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {status}")


class WarmInterpreter:
    """A Python process that has imported the SDK and waits for its program.

    Importing takes as long as the engine needs to get ready; done side by side it costs nothing.
    """

    def __init__(self, python: Path) -> None:
        self._own_python = python
        self._lock = Lock()
        self._process: Popen[bytes] | None = None
        self._python: Path | None = None

    def start(self, python: Path) -> None:
        """Start one on `python` unless one is waiting."""
        with self._lock:
            if self._process is None and python.exists():
                self._python = python
                self._process = _start(python)

    def run(self, python: Path, program: Program) -> int:
        """Run `program` on `python` to its end; return its exit status."""
        with self._lock:
            if self._process is None or self._python != python:
                self._stop()
                self._process = _start(python)
            process, self._process = self._process, None
        assert process.stdin is not None
        self._running = process
        process.stdin.write(json.dumps(asdict(program)).encode())
        process.stdin.close()
        return process.wait()

    def end(self) -> None:
        """End what waits or runs."""
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _start(python: Path) -> Popen[bytes]:
    return Popen([python, "-u", WARM_UP], stdin=PIPE)
