"""Run the system's own commands."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError


def run(*command: str | Path, stdin: str | None = None, deadline: float = 30.0) -> str:
    """Return what `command` printed on stdout; `deadline` is in seconds.

    Raises:
        LabError: it could not be started, took longer, or ended with another status than 0.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=deadline, check=False
        )
    except FileNotFoundError as error:
        raise missing(words[0]) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` did not end within {deadline:g} s.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or "nothing"
        raise LabError(f"`{' '.join(words)}` ended with {done.returncode} and said: {said}")
    return done.stdout


def missing(command: str) -> LabError:
    """Return the error for a command that is not installed."""
    return LabError(f"The command {command} is missing here. Run scripts/setup lab first.")


def ip(lines: Sequence[str], namespace: str | None = None) -> None:
    """Give a batch of `ip` commands to one process, in a named network namespace if given.

    Raises:
        LabError: one of them failed; the ones after it were not tried.
    """
    where = ["-n", namespace] if namespace else []
    run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")
