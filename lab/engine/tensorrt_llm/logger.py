"""The log's line forms: `[11/24/2025-14:08:55] [TRT-LLM] [RANK 0] [I] …` and the C++ side's.

Everything goes to stdout, as in the real program; TLLM_LOG_LEVEL beats --log_level. A process that nobody
gives a level prints errors only: the server and rank 0 get --log_level, the other ranks do not.
"""

import os
import sys
import time

LEVELS = ("trace", "debug", "verbose", "info", "warning", "error", "internal_error")
DEFAULT_LEVEL, CPP_DEFAULT_LEVEL = "error", "info"
"""The Python side's and the C++ runtime's, where neither the environment nor an option sets one."""
_LETTERS = {"verbose": "V", "info": "I", "warning": "W", "error": "E"}


class Logger:
    """Writes lines of one process; `rank` is set where several ranks write."""

    def __init__(self) -> None:
        self.rank: int | None = None
        self._level = LEVELS.index(DEFAULT_LEVEL)
        self._cpp_level = LEVELS.index(CPP_DEFAULT_LEVEL)
        asked = os.environ.get("TLLM_LOG_LEVEL", "").lower()
        self._from_environment = asked in LEVELS
        if self._from_environment:
            self._level = self._cpp_level = LEVELS.index(asked)

    def set_level(self, name: str) -> None:
        """Take the command line's level, unless the environment has set one."""
        if self._from_environment:
            self.warning(f"Logger level already set from environment. Discard new verbosity: {name}")
            return
        self._level = self._cpp_level = LEVELS.index(name)

    def verbose(self, text: str) -> None:
        """A [V] line."""
        self._write("verbose", text)

    def info(self, text: str) -> None:
        """An [I] line."""
        self._write("info", text)

    def warning(self, text: str) -> None:
        """A [W] line."""
        self._write("warning", text)

    def error(self, text: str) -> None:
        """An [E] line."""
        self._write("error", text)

    def cpp(self, text: str, level: str = "INFO") -> None:
        """A line of the C++ runtime."""
        if self._cpp_level <= LEVELS.index(level.lower()):
            print(f"[TensorRT-LLM][{level}] {text}", flush=True)

    def banner(self, version: str) -> None:
        """The line that each process begins with."""
        print(f"[TensorRT-LLM] TensorRT LLM version: {version}", flush=True)

    def progress_bar(self, title: str, count: int, seconds: float) -> None:
        """A finished tqdm bar, on stderr."""
        rate = count / max(seconds, 0.001)
        took = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
        bar = f"{title}: 100%|██████████| {count}/{count} [{took}<00:00, {rate:.2f}it/s]"
        print(bar, file=sys.stderr, flush=True)

    def _write(self, level: str, text: str) -> None:
        if self._level > LEVELS.index(level):
            return
        tag = "" if self.rank is None else f" [RANK {self.rank}]"
        now = time.strftime("%m/%d/%Y-%H:%M:%S")
        print(f"[{now}] [TRT-LLM]{tag} [{_LETTERS[level]}] {text}", flush=True)


logger = Logger()
"""The process's one logger."""
