"""Messages between the HTTP server and the process with MPI rank 0, on one host.

The real programs use ZeroMQ with an HMAC key from the environment (TLLM_SPAWN_PROXY_PROCESS_IPC_*);
this is the same idea over a plain TCP connection: length, HMAC-SHA256, JSON.
"""

import hashlib
import hmac
import json
import os
import socket
import struct
import time
from typing import Any

Message = dict[str, Any]
_HEAD = struct.Struct("!I32s")
_LIMIT = 64 * 1024 * 1024
CONNECT_INTERVAL = 0.02
"""Seconds between attempts while the other process is still starting."""


class Tampered(Exception):
    """A message whose HMAC does not fit the key."""


def address() -> tuple[str, int]:
    """Host and port of the leader, from the launcher's tcp:// or (age N) ipc:// address."""
    text = os.environ["TLLM_SPAWN_PROXY_PROCESS_IPC_ADDR"]
    host, _, port = text.rpartition(":")
    return host.removeprefix("tcp://"), int(port)


def key() -> bytes:
    """The shared secret that the launcher made."""
    return bytes.fromhex(os.environ["TLLM_SPAWN_PROXY_PROCESS_IPC_HMAC_KEY"])


def pack(message: Message) -> bytes:
    """A message as it goes over the wire."""
    body = json.dumps(message).encode()
    return _HEAD.pack(len(body), hmac.digest(key(), body, hashlib.sha256)) + body


class Unpacker:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now.

        Raises:
            Tampered: the sender does not have the key.
        """
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _HEAD.size:
            length, seal = _HEAD.unpack_from(self._buffer)
            if length > _LIMIT:
                raise Tampered
            if len(self._buffer) < _HEAD.size + length:
                break
            body = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            if not hmac.compare_digest(seal, hmac.digest(key(), body, hashlib.sha256)):
                raise Tampered
            messages.append(json.loads(body))
        return messages


def connect() -> socket.socket:
    """Connect to the leader; waits until it is there, as the real one does."""
    while True:
        try:
            return socket.create_connection(address())
        except OSError:
            time.sleep(CONNECT_INTERVAL)
