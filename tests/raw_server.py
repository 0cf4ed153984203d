"""A server that says what it was told, whatever it is asked."""

from __future__ import annotations

import socket
import threading
import time


class Raw:
    """Answers every connection with the same bytes, one `pause` after each `step` of them."""

    def __init__(self, text: bytes, step: int = 0, pause: float = 0.0) -> None:
        self.text, self.step, self.pause = text, step or len(text) or 1, pause
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                for start in range(0, len(self.text), self.step):
                    connection.sendall(self.text[start : start + self.step])
                    time.sleep(self.pause)
            except OSError:
                return
