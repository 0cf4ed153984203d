"""A real terminal for interactive commands: tmux, typed into and looked at."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from pathlib import Path

PROMPT = "ready$ "
#: A server that is just ending takes a new one of its name with it.
_NUMBER = itertools.count()


class Terminal:
    """A shell in a terminal of its own; its tmux server is nobody else's."""

    def __init__(
        self, name: str, folder: Path, env: dict[str, str], width: int = 80, height: int = 24
    ) -> None:
        self.base = ["tmux", "-L", f"trtspark-{name}-{os.getpid()}-{next(_NUMBER)}", "-f", "/dev/null"]
        shell = f"env PS1='{PROMPT}' bash --norc --noprofile"
        size = ["-x", str(width), "-y", str(height)]
        words = [*self.base, "new-session", "-d", *size, "-c", str(folder), shell]
        subprocess.run(
            words, env={**env, "TERM": "screen-256color", "LANG": "C.UTF-8"}, check=True, timeout=20
        )
        self.until(PROMPT.strip())

    def screen(self) -> str:
        """What is to be seen; a line that the terminal wrapped is one."""
        words = [*self.base, "capture-pane", "-p", "-J"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout

    def type(self, text: str) -> None:
        """Text, and Enter."""
        subprocess.run([*self.base, "send-keys", "-l", text], check=True, timeout=20)
        self.key("Enter")

    def key(self, name: str) -> None:
        """A key by tmux's name: Enter, C-c, C-d."""
        subprocess.run([*self.base, "send-keys", name], check=True, timeout=20)

    def until(self, text: str, seconds: float = 60) -> str:
        """The screen once it shows `text`, however lines break; what it shows instead, in the failure."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.screen()
            if "".join(text.split()) in "".join(shown.split()):
                return shown
            assert time.monotonic() < deadline, f"no {text!r} in {seconds:.0f} s:\n{shown}"
            time.sleep(0.1)

    def ends(self, seconds: float = 60) -> str:
        """The screen once the shell's prompt is its last line again."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.screen()
            lines = [line for line in shown.splitlines() if line.strip()]
            if lines and lines[-1].strip() == PROMPT.strip():
                return shown
            assert time.monotonic() < deadline, f"no prompt in {seconds:.0f} s:\n{shown}"
            time.sleep(0.1)

    def clear(self) -> None:
        """An empty screen at the prompt."""
        self.type("clear")
        self.ends()

    def close(self) -> None:
        """End the shell and what runs in it."""
        subprocess.run([*self.base, "kill-server"], capture_output=True, timeout=20, check=False)
