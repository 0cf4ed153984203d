"""The API's open connections and what went over each: who waits for an answer, and whether anybody gets one.

The kernel tells a socket's bytes to everybody who asks (sock_diag(7), as `ss -i` does); /metrics would take
the engine's figures from whoever else reads them.
"""

import os
import socket
import struct

#: linux/sock_diag.h and inet_diag.h
SOCK_DIAG_BY_FAMILY = 20
SOCK_DIAG = 4
INFO = 2
REQUEST_AND_DUMP = 0x301
ESTABLISHED = 1
ERROR, DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE_BYTES = 72
#: tcpi_bytes_acked and tcpi_bytes_received in linux/tcp.h, since 4.1.
_BYTES = struct.Struct("=QQ")
_BYTES_AT = 120
ANSWER_S = 2

#: What is sent so long after the last request is the engine's: tokens, or an answer that took its time. The
#: server itself answers /health, /metrics and what it refuses at once.
LATER_S = 3.0


def traffic(port):
    """{far end: (bytes sent to it, bytes received from it)} of every open connection to the local port.

    Raises OSError where the kernel does not tell.
    """
    found: dict[tuple[str, int], tuple[int, int]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        kernel.settimeout(ANSWER_S)
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (INFO - 1), 1 << ESTABLISHED)
            body += struct.pack("!HH", port, 0) + bytes(44)
            head = _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, REQUEST_AND_DUMP, family, 0)
            kernel.send(head + body)
            while _read(kernel.recv(1 << 16), port, found):
                pass
    return found


def _read(answer, port, found):
    """Take in some messages of the kernel's; False after the last one."""
    place = 0
    while place + _HEADER.size <= len(answer):
        length, kind = _HEADER.unpack_from(answer, place)[:2]
        if kind == DONE:
            return False
        if kind == ERROR:
            code = -struct.unpack_from("=i", answer, place + _HEADER.size)[0]
            raise OSError(code, os.strerror(code))
        start = place + _HEADER.size
        here, there = struct.unpack_from("!HH", answer, start + 4)
        size = 4 if answer[start] == socket.AF_INET else 16
        # Of inet_diag_sockid: the ports, then 16 bytes for the local address and 16 for the far one.
        far = socket.inet_ntop(answer[start], answer[start + 24 : start + 24 + size])
        attribute = start + _MESSAGE_BYTES
        while attribute + _ATTRIBUTE.size <= place + length:
            bytes_long, name = _ATTRIBUTE.unpack_from(answer, attribute)
            if name == INFO and here == port and bytes_long >= _BYTES_AT + _BYTES.size + _ATTRIBUTE.size:
                found[(far, there)] = _BYTES.unpack_from(answer, attribute + _ATTRIBUTE.size + _BYTES_AT)
            attribute += max(_ATTRIBUTE.size, bytes_long + 3 & ~3)
        place += max(_HEADER.size, length + 3 & ~3)
    return True


class Queue:
    """What happens on the connections while a question of ours waits for its tokens.

    Requests are served in their order. Only tokens count: that clients come and go says nothing.
    """

    def __init__(self, now, found):
        """`found`: the traffic just before the question, at time `now`."""
        self.before = set(found)
        """Who may stand before us: was there first, has not gone, and has asked for nothing else since."""
        self.seen = dict(found)
        self.requests = dict.fromkeys(found, now)
        self.moved = self.first = now
        """When somebody last got something of the engine's, and since when nobody stands before us."""

    def look(self, now, found):
        """Take a later look into account."""
        if self.before:
            self.first = now
        for one, (sent, received) in found.items():
            sent_before, received_before = self.seen.get(one, (0, None))
            if received != received_before:
                self.requests[one] = now
                self.before.discard(one)
            elif sent != sent_before and now - self.requests[one] >= LATER_S:
                self.moved = now
        self.before &= set(found)
        self.seen = dict(found)

    def silent(self, now, alone_s, behind_s):
        """What is wrong, "" for nothing: our question may take `alone_s` once nobody stands before it, and
        nobody may get anything for `behind_s` while somebody does.
        """
        if now - max(self.moved, self.first) > alone_s:
            return "no token within %d s, and nobody waits before us" % alone_s
        if now - self.moved > behind_s:
            return "nobody got anything within %d s" % behind_s
        return ""
