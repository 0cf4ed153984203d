"""A slow line to the lab's registry: a port of the operator's address that passes bytes on at a rate.

TLS goes through as it is: the registry's certificate is for the address, whatever the port.
"""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
import time
from contextlib import suppress
from typing import Any

from tests.lab import stack as stacks

BLOCK = 1 << 16


class SlowRegistry(socketserver.ThreadingTCPServer):
    """`rate`: bytes per second of all connections together; `sent`: bytes passed on to the nodes."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, registry: str, rate: float) -> None:
        host, _, port = registry.partition(":")
        self.registry, self.rate, self.sent = (host, int(port)), rate, 0
        self._lock, self._free = threading.Lock(), time.monotonic()
        super().__init__((host, 0), _Pass)
        self.name = f"{host}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A connection that breaks is what some tests want."""

    def wait(self, count: int) -> None:
        """Take the line for `count` bytes."""
        with self._lock:
            self.sent += count
            self._free = max(self._free, time.monotonic()) + count / self.rate
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))

    def trust(self, lab: dict[str, Any]) -> None:
        """Let the nodes' Docker take the registry's certificate on this port too."""
        old = f"/etc/docker/certs.d/{self.registry[0]}:{self.registry[1]}"
        for node in range(len(lab["nodes"])):
            stacks.inside(lab, node, f"cp -r {old} /etc/docker/certs.d/{self.name}")

    def forget(self, lab: dict[str, Any]) -> None:
        for node in range(len(lab["nodes"])):
            stacks.inside(lab, node, f"rm -r /etc/docker/certs.d/{self.name}")


class _Pass(socketserver.BaseRequestHandler):
    server: SlowRegistry

    def handle(self) -> None:
        with socket.create_connection(self.server.registry, 5) as there, selectors.DefaultSelector() as ready:
            ready.register(self.request, selectors.EVENT_READ, there)
            ready.register(there, selectors.EVENT_READ, self.request)
            with suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(BLOCK)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is there:
                            self.server.wait(len(data))
                        key.data.sendall(data)
