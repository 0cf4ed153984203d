"""The processes of ours end with the engine that started them.

`pulumi` ends its plugins when it ends. One that is killed (SIGKILL, out of memory) tells nobody, and the
SDK's own process for dynamic providers waits for ever: it would go on with an operation while the next `up`
does the same, and then stay. The program waits for ever likewise, for answers to what it registered.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

LOOK_S = 1.0
CONNECT_TIMEOUT_S = 5.0
#: Nothing but a closed port counts, and so often in a row.
REFUSALS = 2

_watching = threading.Lock()


def end_with(address: str) -> None:
    """Watch the engine at `address` (HOST:PORT; "" for none) from now on, once a process.

    Not the parent's process: that is the SDK's shell script, which waits for us.
    """
    if address and _watching.acquire(blocking=False):
        threading.Thread(target=_watch, args=(address, lambda: os._exit(1)), daemon=True).start()


def end_with_parent() -> None:
    """End this process when the one that started it is gone: for the program, whose parent is the language
    host, which ends with the engine.
    """
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)


def _watch(address: str, end: Callable[[], object], pause: float = LOOK_S) -> None:
    refused = 0
    while refused < REFUSALS:
        time.sleep(pause)
        refused = refused + 1 if _closed(address) else 0
    end()


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
