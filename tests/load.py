"""Clients that ask until they are refused, and what they see. Standard library only: it is run in the image.

`python3 load.py PORT COMMAND…` starts a server, stops it with SIGTERM under load, and prints the counts.
"""

from __future__ import annotations

import collections
import errno
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time

#: Tokens to ask for, seconds between two requests, whether the connection is kept: streams that are under way
#: when the stop begins, clients that never pause, clients whose connection is idle, and a connection each.
CLIENTS = ((60, 0, True), (2, 0, True), (2, 0.3, True), (2, 0, False))
EACH = 6
LOAD_S = 1.2


class Load:
    """Starts asking at once."""

    def __init__(self, port: int) -> None:
        """`port` on this machine answers chat completions, and is stopped later."""
        self.port = port
        self.seen: collections.Counter[str] = collections.Counter()
        self.threads = [threading.Thread(target=self._ask, args=kind, daemon=True) for kind in CLIENTS * EACH]
        for thread in self.threads:
            thread.start()

    def ended(self) -> dict[str, int]:
        """The counts, once every client has been refused."""
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        return dict(self.seen)

    def _ask(self, tokens: int, pause: float, kept: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        body = {
            "model": "any",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": tokens,
            "stream": True,
        }
        while True:
            try:
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                whole = answer.read().endswith(b"data: [DONE]\n\n")
                self.seen["answered" if whole else f"cut ({answer.status})"] += 1
            except ConnectionRefusedError:
                self.seen["refused"] += 1
                return
            except http.client.RemoteDisconnected:
                self.seen["closed"] += 1
                connection.close()
            except (http.client.HTTPException, OSError) as error:
                number = getattr(error, "errno", None)
                self.seen["reset" if number in (errno.ECONNRESET, errno.EPIPE) else repr(error)] += 1
                connection.close()
            if not kept:
                connection.close()
            time.sleep(pause)


def stopped(port: int, command: list[str]) -> dict[str, int]:
    """What the clients of a server saw that was stopped under their hands."""
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            load = Load(port)
            time.sleep(LOAD_S)
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
    return load.ended()


if __name__ == "__main__":
    print("seen", json.dumps(stopped(int(sys.argv[1]), sys.argv[2:])), flush=True)
