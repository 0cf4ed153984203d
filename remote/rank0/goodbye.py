"""Stopping uvicorn without a connection reset, inside the server's own process.

uvicorn closes kept-alive connections when it stops and tells nobody: a request that is under way to such a
connection gets a reset. Here, responses say `Connection: close` from the moment the stop begins, and each
connection is half-closed and read until its client closes it, or for LINGER_S. Nothing is changed before the
stop begins; what another uvicorn does not have is left as it was.
"""

import asyncio
import contextlib
import ctypes
import importlib
import inspect
import os
import socket
import struct

from .codes import say

#: Handshakes under way end within this, and clients that send one request after another get an answer that
#: says close.
LAST_CALLS_S = 0.1
#: A client that has not closed its end by then is idle, and finds the connection closed before it uses it.
LINGER_S = 1.0
_CLOSE = (b"connection", b"close")
_SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)
#: A packet filter: drop what has TCP's SYN flag, keep the rest. (code, jump if true, jump if false, value)
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # is SYN set?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def teach():
    """Make uvicorn stop as above. Without a uvicorn that can be taught, it stops as it always has."""
    try:
        uvicorn = importlib.import_module("uvicorn")
        original = uvicorn.Server.shutdown
        if not inspect.iscoroutinefunction(original):
            return
    except Exception as error:  # whatever an image has there: serving does not depend on it
        say("uvicorn stops in its own way: %s" % error)
        return

    async def shutdown(self, *args, **options):
        try:
            await _last_calls(self)
        except Exception as error:  # likewise: the stop goes on
            say("uvicorn stops in its own way: %r" % error)
        return await original(self, *args, **options)

    uvicorn.Server.shutdown = shutdown


async def _last_calls(server):
    for listening in [one for each in server.servers for one in each.sockets]:
        _take_no_more(listening.fileno())
    state = server.server_state
    state.default_headers = [*state.default_headers, _CLOSE]
    _tell(state.connections)
    await asyncio.sleep(LAST_CALLS_S)
    _tell(state.connections)  # those that came meanwhile


def _take_no_more(descriptor):
    """Let no handshake begin: one that is complete and not accepted gets a reset when its listener closes."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    with socket.socket(fileno=os.dup(descriptor)) as listening, contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
        )


def _tell(connections):
    for connection in list(connections):
        transport = connection.transport
        if isinstance(transport, _Lingering) or transport.is_closing():
            continue
        connection.transport = _Lingering(transport, connection)
        cycle = getattr(connection, "cycle", None)
        if cycle is not None:
            cycle.transport = connection.transport
            cycle.default_headers = [*cycle.default_headers, _CLOSE]


class _Lingering:
    """A transport whose close() waits for the client's end."""

    def __init__(self, transport, protocol):
        self._transport, self._protocol = transport, protocol
        self._ending = False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def is_closing(self):
        return self._ending or self._transport.is_closing()

    def write(self, data):
        if not self._ending:
            self._transport.write(data)

    def close(self):
        if self.is_closing():
            return
        self._ending = True
        self._transport.set_protocol(_Ending(self._transport, self._protocol))
        with contextlib.suppress(RuntimeError):  # uvicorn stops reading while an answer is being made
            self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone
            self._transport.close()


class _Ending(asyncio.Protocol):
    """Reads a half-closed connection to its end, then tells the protocol that had it."""

    def __init__(self, transport, before):
        self._before = before
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.close)

    def connection_lost(self, error):
        self._timer.cancel()
        self._before.connection_lost(error)
