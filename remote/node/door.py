"""A listener that strangers can neither end nor fill.

Whoever connects is a stranger until the greeting has shown otherwise, and has a few seconds for that. Only so
many strangers wait at once: for the next one, the oldest of the address with most of them goes. So a host
without the key closes its own connections first, and a peer, whose greeting takes a moment, gets through.
"""

import collections
import contextlib
import errno
import socket
import threading
import time

GREETING_S = 5.0
STRANGERS = 64
#: Of a listener. A shorter queue that overflows keeps a peer out for a second, until TCP tries again.
BACKLOG = 1024
#: After the system had no descriptor or no thread left; those of strangers are given up meanwhile.
PAUSE_S = 0.05
#: The listener itself is gone.
_OVER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)


class Door:
    """`greet(connection, until)` gives what `serve(connection, it)` wants, and raises for a stranger; `until`
    is of time.monotonic. One thread for each connection, which ends with it.
    """

    def __init__(self, greet, serve, greeting_s: float = GREETING_S, strangers: int = STRANGERS) -> None:
        self.greet, self.serve, self.greeting_s, self.most = greet, serve, greeting_s, strangers
        self.lock = threading.Lock()
        self.waiting: dict[socket.socket, str] = {}  # connection: its address, the oldest first

    def open(self, listener) -> None:
        """Take connections in a thread of its own."""
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def accept(self, listener):
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, address = listener.accept()
            except OSError as error:
                if error.errno in _OVER:
                    return
                self._drop(1)
                time.sleep(PAUSE_S)
                continue
            self._drop(self.most)
            with self.lock:
                self.waiting[connection] = address[0] if isinstance(address, tuple) else ""
            self._begin(connection)

    def _begin(self, connection):
        for pause in (PAUSE_S, PAUSE_S, 0):
            try:
                threading.Thread(target=self._meet, args=(connection,), daemon=True).start()
            except (RuntimeError, MemoryError):  # "can't start new thread"
                self._drop(2)
                time.sleep(pause)
            else:
                return
        self._leave(connection)
        connection.close()

    def _meet(self, connection):
        with connection:
            try:
                guest = self.greet(connection, time.monotonic() + self.greeting_s)
            except Exception:  # whatever a stranger sent: nobody is told, or it could fill a log
                return
            finally:
                self._leave(connection)
            self.serve(connection, guest)

    def _leave(self, connection):
        with self.lock:
            self.waiting.pop(connection, None)

    def _drop(self, most):
        """Where so many wait, give one up. Its thread finds the end, and closes it."""
        with self.lock:
            if len(self.waiting) < most:
                return
            address, _ = collections.Counter(self.waiting.values()).most_common(1)[0]
            one = next(one for one, its in self.waiting.items() if its == address)
            del self.waiting[one]
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def exactly(connection, count, until):
    """So many bytes, or an OSError: at the connection's end, and at `until` however slowly they come."""
    data = b""
    while len(data) < count:
        connection.settimeout(max(0.001, until - time.monotonic()))
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "the other end closed the connection")
        data += part
        if time.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, "the greeting took too long")
    return data
