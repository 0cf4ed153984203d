"""How long things may take on a node: the one place that adds them up, so that whoever waits for a node waits
longer than the node itself does.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time

#: Whoever holds the node's lock (node_lock.py) has ended within this; a test compares.
LOCK_S = 210
#: From a kill to the end of what can be killed.
KILLED_S = 0.2
#: For the login, the start of the program and its answer, on a busy machine.
ROOM_S = 30
_ends = list[float]()


def operators(*parts: float) -> float:
    """How long the operator waits for a program whose waits and works take `parts` seconds at most."""
    return sum(parts) + ROOM_S


@contextlib.contextmanager
def within(seconds):
    """Commands in this block get no more time than is left of `seconds`."""
    _ends.append(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.pop()


def left(most):
    """Seconds that a command may take: `most`, or less where a `within` ends before."""
    now = time.monotonic()
    return max(0.0, min([now + most, *_ends]) - now)


def anew():
    """For a process that goes on when its parent's work has ended."""
    _ends.clear()


def end(child):
    """Kill a process, with its own session if it has one, and do not wait for what cannot be killed: sudo's
    is root's, and a device that hangs keeps its own.
    """
    with contextlib.suppress(OSError):
        own = os.getpgid(child.pid) == child.pid
        (os.killpg if own else os.kill)(child.pid, signal.SIGKILL)
    try:
        child.wait(timeout=KILLED_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=child.wait, daemon=True).start()


def close(child):
    """Close its pipes, when nobody reads them any more."""
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
