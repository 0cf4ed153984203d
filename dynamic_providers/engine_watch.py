"""The processes of ours end with the engine that started them.

`pulumi` ends its plugins when it ends. One that is killed (SIGKILL, out of memory) tells nobody, and the
SDK's own process for dynamic providers waits for ever: it would go on with an operation while the next `up`
does the same, and then stay. The program waits for ever likewise, for answers to what it registered.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

LOOK_S = 1.0
CONNECT_TIMEOUT_S = 5.0
#: Nothing but a closed port counts, and so often in a row.
REFUSALS = 2
LIST_TIMEOUT_S = 10
#: As the SDK's script starts it: the process's number, its Python, the engine's address.
_HOST = re.compile(r"(?m)^ *(\d+) (\S+) -u -m pulumi\.dynamic ([\w.-]+:\d+)$")

_watching = threading.Lock()


def end_with(address: str) -> None:
    """Watch the engine at `address` (HOST:PORT; "" for none) from now on, once a process.

    Not the parent's process: that is the SDK's shell script, which waits for us.
    """
    if address and _watching.acquire(blocking=False):
        threading.Thread(target=_watch, args=(address,), daemon=True).start()


def end_with_parent() -> None:
    """End this process when the one that started it is gone: for the program, whose parent is the language
    host, which ends with the engine.
    """
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    with suppress(OSError, subprocess.SubprocessError):
        end_orphans()
    os._exit(1)


def end_orphans() -> None:
    """End the providers' hosts of this project whose engine is gone.

    One whose engine was killed before it had anything to do has loaded nothing of ours, and watches nothing.
    """
    found = _orphans()
    if not found:
        return
    time.sleep(LOOK_S)
    for pid in found & _orphans():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)


def _orphans() -> set[int]:
    """Processes of this environment's own Python that serve an engine at a port where nobody listens."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True, timeout=LIST_TIMEOUT_S
    ).stdout
    found = set()
    for pid, program, address in _HOST.findall(listed):
        with suppress(OSError):
            ours = Path(program).parent.samefile(Path(sys.executable).parent)
            if ours and _closed(address):
                found.add(int(pid))
    return found


def _watch(address: str) -> None:
    refused = 0
    while refused < REFUSALS:
        time.sleep(LOOK_S)
        refused = refused + 1 if _closed(address) else 0
    os._exit(1)


def _closed(address: str) -> bool:
    """Whether nobody listens there. A machine too busy to answer, or out of files, is no proof of that."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
