"""Running a program: its command line, its environment, and an interpreter that is warm."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import language_pb2

    from plugins.language.environment import Environment

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
        request: "language_pb2.RunRequest",
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


class WarmInterpreter:
    """A Python process that has imported the SDK and waits for its program.

    Importing takes as long as the engine needs to get ready; done side by side it costs nothing.
    Where no program follows (`pulumi destroy`) the process ends with its host.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: Popen[bytes] | None = None
        self._environment: Path | None = None
        self._running: Popen[bytes] | None = None

    def start(self, python: Path) -> None:
        """Start one on `python`."""
        with self._lock:
            self._environment, self._waiting = _environment(python), _start(python)

    def run(self, python: Path, program: Program) -> int:
        """Run `program` on `python` to its end; return its exit status."""
        with self._lock:
            process, self._waiting = self._waiting, None
        if process is None or self._environment != _environment(python):
            _kill(process)
            process = _start(python)
        self._running = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(program)).encode())
        process.stdin.close()
        return process.wait()

    def end(self) -> None:
        """End what waits or runs."""
        _kill(self._waiting)
        _kill(self._running)


def _environment(python: Path) -> Path:
    # The interpreter itself is a link to one that all environments share.
    return python.parent.parent.resolve()


def _kill(process: "Popen[bytes] | None") -> None:
    if process is not None:
        process.kill()


def _start(python: Path) -> Popen[bytes]:
    return Popen([python, "-u", WARM_UP], stdin=PIPE)
