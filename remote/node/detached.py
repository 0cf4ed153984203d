"""Work on a node that outlives the login: one process for each folder, which holds a lock file in it.

Whoever comes next finds it by the lock, reads its status.json, and waits for the same end. The number in
status.json ("pid") is the process's; SIGTERM asks it to save what it has and to end.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback

from remote.node import whole_file

END_S = 10.0


def running(folder):
    """The status of the work that runs, or {}."""
    if not os.path.exists(os.path.join(folder, "lock")):
        return {}
    lock = locked(folder)
    if lock is not None:
        os.close(lock)
        return {}
    return read_json(os.path.join(folder, "status.json"))


def locked(folder):
    """The lock's file descriptor; None while somebody else holds it. Whoever removes the file holds it, so a
    lock whose file has gone meanwhile is none: the next one is on another file.
    """
    path = os.path.join(folder, "lock")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def end(folder):
    """Ask the work to save what it has and to end; after END_S seconds, end it. The lock's file descriptor,
    for the caller to close, when it is removed too; None where there is none, or it was not to be had.
    """
    deadline = time.monotonic() + END_S
    asked = None
    while os.path.exists(os.path.join(folder, "lock")):
        lock = locked(folder)
        if lock is not None:
            return lock
        pid = number(read_json(os.path.join(folder, "status.json")).get("pid"))
        if pid and pid != asked:
            kill(pid, signal.SIGTERM)
            asked = pid
        if time.monotonic() > deadline:
            if pid:
                kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            return locked(folder)
        time.sleep(0.05)
    return None


def freed(folder):
    """`end`, and the lock for the caller's own work; None where it is not to be had."""
    lock = end(folder)
    return locked(folder) if lock is None else lock


@contextlib.contextmanager
def ended(folder):
    """`end`, and nobody begins while the block takes away what is left."""
    lock = end(folder)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def kill(pid, number):
    """Send a signal to a process that may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def number(pid):
    """A process's number; None for what is none, like -1, which stands for all of them."""
    return pid if isinstance(pid, int) and pid > 1 else None


def detach(folder, job, work, close=()):
    """Run `work()` in a process of its own, without terminal, login or standard output.

    `job`: the number in its status.json. Returns at once in the caller, which closes its copies of the
    sockets `close`. What the work prints goes to the file log; an exception's type becomes its status.
    An exception's text is written nowhere: it may quote what the work was given, a token too.
    """
    if os.fork():
        for one in close:
            one.close()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        # Tokens and passwords are in this process's memory: not in a core file.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        os.chdir("/")
        threading.excepthook = lambda hooked: note(hooked.exc_value)
        work()
        code = 0
    except BaseException as error:
        write_json(
            os.path.join(folder, "status.json"),
            {"job": job, "pid": os.getpid(), "state": "failed", "error": kind(error)},
        )
        note(error)
    finally:
        sys.stderr.flush()
        os._exit(code)


def kind(error):
    """What an exception is called, for people; never its text."""
    return "the work ended with %s" % type(error).__name__


def note(error):
    """Write an exception's type, and where it was raised, to standard error; never its text."""
    places = traceback.extract_tb(error.__traceback__)
    where = ", ".join("%s:%s" % (os.path.basename(one.filename), one.lineno) for one in places)
    print("%s (%s)" % (type(error).__name__, where), file=sys.stderr, flush=True)


def read_json(path):
    """The document, or {} where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as handle:
            found = json.load(handle)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path, document, lasting=False):
    """All of it or nothing, readable by its owner alone. `lasting`: after a power cut too."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    whole_file.write(path, json.dumps(document).encode(), 0o600, lasting=lasting)


def unlink(path):
    """Gone, whether it was there or not."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
