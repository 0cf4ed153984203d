"""Rank 0: takes the server's wishes from its socket and leads all ranks through them.

While requests are open, all ranks take a step together every STEP_SECONDS, and the server may
produce tokens up to a moment a little after the last step. A rank that is silent therefore stops
every stream, as it does in the real engine.
"""

import select
import socket
import time
import traceback
from dataclasses import asdict
from typing import NoReturn

from ..logger import logger
from ..nccl.log import NcclError
from .group import Group
from .ipc import Message, Tampered, Unpacker, address, pack
from .rank import HANG_SECONDS, Job, Rank

STEP_SECONDS = 0.05
AHEAD_SECONDS = 0.25
"""How far the server may run ahead of the last step: covers a busy machine's hiccups."""


class Leader:
    """The loop of rank 0."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._rank = Rank(0, group.size, group.allgather)
        self._open: set[str] = set()
        self._server: socket.socket | None = None
        self._broken = ""

    def run(self) -> None:
        """Serve until the server says shutdown.

        A server that dies without a word leaves the loop waiting for ever: that is what the real
        leader does up to early 2026, and why mpirun then does not end.
        """
        unpacker = Unpacker()
        with socket.create_server(address()) as listener:
            self._server, _ = listener.accept()
        next_step = 0.0
        while True:
            pause = max(next_step - time.monotonic(), 0) if self._open else None
            ready, _, _ = select.select([self._server], [], [], pause)
            if ready:
                try:
                    data = self._server.recv(65536)
                except ConnectionResetError:  # it died with messages of ours unread
                    data = b""
                if not data:
                    self._wait_for_ever()
                try:
                    messages = unpacker.feed(data)
                except Tampered:
                    logger.error("HMAC verification failed")
                    self._wait_for_ever()
                if not self._handle(messages):
                    self._stop()
                    return
            if self._open and time.monotonic() >= next_step:
                self._step()
                next_step = time.monotonic() + STEP_SECONDS

    def _handle(self, messages: list[Message]) -> bool:
        """Do what the server asks for; False when it wants the end."""
        begun = [message["id"] for message in messages if message["op"] == "begin"]
        for message in messages:
            if message["op"] == "load":
                self._load(Job(message["folder"], message["args"], message["log_level"]))
            elif message["op"] == "end":
                self._open.discard(message["id"])
        if begun:
            self._open.update(begun)
            self._step()
        for request in begun:
            self._tell({"op": "begun", "id": request, "error": self._broken})
        return all(message["op"] != "shutdown" for message in messages)

    def _load(self, job: Job) -> None:
        self._group.broadcast({"op": "load", "job": asdict(job)})
        try:
            facts = self._rank.load(job)
        except Exception as error:  # reported like any failure of the real executor
            logger.error(f"Failed to initialize executor on rank 0: {error}")
            logger.error(traceback.format_exc())
            self._tell({"op": "failed", "error": f"{type(error).__name__}: {error}"})
        else:
            self._tell({"op": "ready", "facts": asdict(facts)})

    def _step(self) -> None:
        """One step of all ranks; a peer that hangs or broke the ring ends the engine's use."""
        if self._broken:
            return
        self._group.broadcast({"op": "step"})
        try:
            self._rank.step(HANG_SECONDS)
            self._group.gather(None, HANG_SECONDS)
        except NcclError as error:
            logger.error(f"Encountered an error in forward function: NCCL error: {error}")
            time.sleep(HANG_SECONDS)  # the real loop waits for its peers until the detector fires
            self._hang()
        except TimeoutError:
            self._hang()
        else:
            self._tell({"op": "progress", "until": time.monotonic() + AHEAD_SECONDS})

    def _hang(self) -> None:
        logger.error(f"Hang detected after {HANG_SECONDS:.0f} seconds.")
        logger.error("Hang detected on rank 0 in PyExecutor.")
        self._broken = f"Hang detected after {HANG_SECONDS:.0f} seconds."
        for request in self._open:
            self._tell({"op": "aborted", "id": request, "error": self._broken})

    def _stop(self) -> None:
        if not self._broken:
            self._group.broadcast({"op": "stop"})
        self._close()

    def _tell(self, message: Message) -> None:
        if self._server is not None:
            try:
                self._server.sendall(pack(message))
            except OSError:
                self._wait_for_ever()

    def _close(self) -> None:
        self._rank.close()
        if self._server is not None:
            self._server.close()

    def _wait_for_ever(self) -> NoReturn:
        self._close()
        while True:
            time.sleep(3600)
