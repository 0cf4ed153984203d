"""Files from node to node over plain TCP on the private link: whole ones, and ones that still arrive.

Both sides prove that they know the job's key (32 random bytes, given to each over ssh) by an HMAC over both
sides' nonces, then the reader asks for byte ranges of files by their number. What is sent is not encrypted:
it is checked by the reader against the Hub's digest. The sender's bytes go from the page cache to the
socket without a copy (sendfile).

Wire, big-endian. Greeting: server 32 bytes nonce; client nonce + HMAC("client"); server HMAC("server").
Then, repeated: client `number:u32 start:u64 end:u64`; server frames `length:u32` + bytes until all is sent;
a frame of length 0 means that the bytes are not there yet.
"""

import contextlib
import hmac
import os
import socket
import struct

from remote.node import door
from remote.node.weights_hub import Broken

NONCE = 32
REQUEST = struct.Struct("!IQQ")
FRAME = struct.Struct("!I")
BLOCK = 1 << 20
LARGEST_FRAME = 16 << 20
HEARTBEAT_S = 2.0
QUIET_S = 15  # several heartbeats
IDLE_S = 120  # a reader may be busy with other files for so long
DONE = 0xFFFFFFFF  # the number that says: this reader has everything


class Refused(Exception):
    """The other side does not know the key."""


def proof(key, side, server_nonce, client_nonce):
    """What `side` ("client" or "server") shows for knowing `key`."""
    return hmac.new(key, side.encode() + server_nonce + client_nonce, "sha256").digest()


def listen(address, interface=""):
    """A socket that listens on one address, at a port that the system picks."""
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    _through(server, interface)
    server.bind((address, 0))
    server.listen(door.BACKLOG)
    return server


class Server:
    """Serves `entry(number)` -> (path to open, wait) to readers that know `key`; one thread each, in which
    `guarded(work, *args)` calls what there is to do.

    `wait(position, seconds)` returns the end of the bytes that are there from `position` on.
    `sent(number, count)` is called for what has gone out, `finished(reader)` when a reader has everything.
    """

    def __init__(self, sockets, key, entry, sent, finished, guarded, greeting_s=door.GREETING_S):
        self.key, self.entry, self.sent, self.finished = key, entry, sent, finished
        entrance = door.Door(self._greet, lambda *known: guarded(self._serve, *known), greeting_s)
        for server in sockets:
            entrance.open(server)

    def _serve(self, connection, reader):
        try:
            connection.settimeout(None)
            _settle(connection, IDLE_S)
            number, start, end = self._request(connection)
            while number != DONE:
                self._send(connection, number, start, end)
                self.sent(number, end - start)
                number, start, end = self._request(connection)
            self.finished(reader)
        except (OSError, Broken, LookupError):
            return

    def _request(self, connection):
        return REQUEST.unpack(_exactly(connection, REQUEST.size))

    def _greet(self, connection, until):
        nonce = os.urandom(NONCE)
        connection.sendall(nonce)
        answer = door.exactly(connection, NONCE + 32 + FRAME.size, until)
        client, shown, (reader,) = answer[:NONCE], answer[NONCE:-4], FRAME.unpack(answer[-4:])
        if not hmac.compare_digest(shown, proof(self.key, "client", nonce, client)):
            raise Refused
        connection.sendall(proof(self.key, "server", nonce, client))
        return reader

    def _send(self, connection, number, start, end):
        path, wait, size = self.entry(number)
        if not 0 <= start <= end <= size:
            raise Broken("a file of %d bytes has none from %d to %d" % (size, start, end))
        while wait(start, HEARTBEAT_S) <= start < end:
            connection.sendall(FRAME.pack(0))
        with open(path(), "rb", buffering=0) as source:
            while start < end:
                reach = min(wait(start, HEARTBEAT_S), end, start + LARGEST_FRAME)
                length = max(0, reach - start)
                connection.sendall(FRAME.pack(length), socket.MSG_MORE if length else 0)
                while start < reach:
                    sent = os.sendfile(connection.fileno(), source.fileno(), start, reach - start)
                    if not sent:
                        raise Broken("the file ended early")
                    start += sent


class Reader:
    """One stream from one peer. `links`: [(own address, own interface, peer's address, port)], used from
    `lane` on, the next one after a failure.
    """

    def __init__(self, links, key, lane, me, timeout=QUIET_S):
        self.links, self.key, self.lane, self.me, self.timeout = links, key, lane, me, timeout
        self.connection: socket.socket | None = None
        self.buffer = memoryview(bytearray(BLOCK))

    def read(self, file, start, end, sink, alive):
        """Bytes [start, end) of file `file["number"]` as `sink(block, offset)`. Raises Broken."""
        try:
            if self.connection is None:
                self.connection = self._connect()
            self.connection.sendall(REQUEST.pack(file["number"], start, end))
            while start < end:
                (length,) = FRAME.unpack(_exactly(self.connection, FRAME.size))
                alive()
                start = self._frame(self.connection, start, min(end, start + length), sink)
        except (OSError, Refused, Broken) as error:
            where = self.links[self.lane % len(self.links)]
            self.close()
            self.lane += 1
            why = "it does not know the key" if isinstance(error, Refused) else error
            raise Broken("%s, port %d: %s" % (where[2], where[3], why)) from None

    def _frame(self, connection, start, stop, sink):
        while start < stop:
            block = self.buffer[: min(BLOCK, stop - start)]
            count = connection.recv_into(block, len(block), socket.MSG_WAITALL)
            if not count:
                raise Broken("the connection ended")
            sink(block[:count], start)
            start += count
        return stop

    def finish(self):
        """Tell the peer that this node has everything."""
        try:
            if self.connection is None:
                self.connection = self._connect()
            self.connection.sendall(REQUEST.pack(DONE, 0, 0))
        except (OSError, Refused, Broken):
            pass
        self.close()

    def close(self):
        """End the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _connect(self):
        own, interface, address, port = self.links[self.lane % len(self.links)]
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            _through(connection, interface)
            connection.bind((own, 0))
            _settle(connection, self.timeout)
            connection.settimeout(self.timeout)
            connection.connect((address, port))
            connection.settimeout(None)
            self._greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _greet(self, connection):
        server, nonce = _exactly(connection, NONCE), os.urandom(NONCE)
        connection.sendall(nonce + proof(self.key, "client", server, nonce) + FRAME.pack(self.me))
        if not hmac.compare_digest(_exactly(connection, 32), proof(self.key, "server", server, nonce)):
            raise Refused


def _settle(connection, timeout):
    """Deadlines in the kernel: Python's own would make the socket non-blocking and cost a poll a block."""
    limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _through(endpoint, interface):
    """Both halves may be in one subnet: the route alone would put everything on one of them."""
    if interface:
        with contextlib.suppress(PermissionError):
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def _exactly(connection, count):
    data = bytearray(count)
    got = connection.recv_into(data, count, socket.MSG_WAITALL)
    if got != count:
        raise Broken("the connection ended")
    return bytes(data)
