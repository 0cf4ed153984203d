"""One lock for each node: whoever changes its files holds it, whatever the stack and the login.

It is on a folder that every node has, that everybody can open and nobody removes: no file of ours can be left
behind, or be another one for those who come later. A process that is forked while it is held has it too.
"""

import contextlib
import fcntl
import os
import threading
import time

from remote.node import deadline, stop

PLACE = "/etc"
POLL_S = 0.05
_mine = threading.local()


@contextlib.contextmanager
def held(wait_s=deadline.LOCK_S):
    """The lock, while the block runs; whoever has it already goes on. Raises Stop after `wait_s`."""
    if getattr(_mine, "lock", None) is not None:
        yield
        return
    lock = os.open(PLACE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + wait_s
        while not _taken(lock):
            if time.monotonic() > end:
                raise stop.Stop(
                    "another run's change of this machine is under way, and did not end within %d s. Try the "
                    "same again in a minute." % wait_s
                )
            time.sleep(POLL_S)
        with inherited(lock):
            yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def inherited(lock):
    """For a thread that holds the lock by this file descriptor."""
    _mine.lock = lock
    try:
        yield
    finally:
        _mine.lock = None


def descriptor():
    """This thread's file descriptor of the lock, which it holds."""
    return _mine.lock


def busy():
    """Whether somebody holds it."""
    lock = os.open(PLACE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not _taken(lock)
    finally:
        os.close(lock)


def _taken(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
