"""The server's side of the engine: behind the launcher, or all in one process.

`Engine` is what the HTTP handlers use: begin a request, wait until the ranks have worked up to a
moment, end it.
"""

import asyncio
import os
import socket
import traceback
from dataclasses import asdict
from typing import Any, Protocol

from .. import startup_log
from ..llm_args import check_world, world_size
from ..logger import logger
from .ipc import Message, Unpacker, connect, pack
from .rank import Facts, Job, Rank

SHUT_DOWN = "Executor is shut down"


class EngineError(RuntimeError):
    """A request that the engine gave up."""


class Engine(Protocol):
    """What a running engine does for the handlers."""

    facts: Facts
    broken: str  # why no request can be served any more, or nothing
    shut_down: bool  # the executor is gone

    async def attach(self) -> None:
        """Called once in the server's event loop."""

    async def begin(self, request: str) -> None:
        """All ranks know of the request when this returns; EngineError when they cannot."""

    async def worked_until(self, request: str, moment: float) -> None:
        """Returns when the ranks have worked up to that time (time.monotonic)."""

    def end(self, request: str) -> None:
        """The request is done or was given up."""

    async def close(self) -> None:
        """Stop all ranks."""


def start(job: Job) -> Engine:
    """Bring the engine up; returns when every rank is ready.

    Raises:
        ValueError: the parallelism does not fit the number of ranks.
        RuntimeError: a rank failed; its own text is in the log.
    """
    launched = os.environ.get("TLLM_SPAWN_PROXY_PROCESS") == "1"
    ranks = int(os.environ.get("tllm_mpi_size", "1")) if launched else 1  # noqa: SIM112 (real name)
    startup_log.server(world_size(job.args), launched)
    if launched:
        check_world(job.args, ranks)
        return Launched(job)
    if world_size(job.args) > 1:
        raise RuntimeError(f"Only 1 GPUs are available, but {world_size(job.args)} are required.")
    return InProcess(job)


class InProcess:
    """One rank, without MPI, inside the server."""

    def __init__(self, job: Job) -> None:
        self.broken, self.shut_down = "", False
        self._rank = Rank(0, 1, lambda value: [value])
        try:
            self.facts = self._rank.load(job)
        except Exception as error:
            logger.error(f"Failed to initialize executor on rank 0: {error}")
            logger.error(traceback.format_exc())
            logger.error(f"Executor worker initialization error: {error}")
            raise RuntimeError("Executor worker returned error") from error

    async def attach(self) -> None:
        """Nothing to attach to."""

    async def begin(self, request: str) -> None:
        """There is nobody to tell."""

    async def worked_until(self, request: str, moment: float) -> None:
        """This process is always where its clock is."""

    def end(self, request: str) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing to stop."""


class Launched:
    """The ranks behind the leader's socket."""

    def __init__(self, job: Job) -> None:
        self._socket = connect()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unpacker = Unpacker()
        self._socket.sendall(pack({"op": "load", **asdict(job)}))
        answer = self._first_answer()
        if answer["op"] == "failed":
            logger.error(f"Executor worker initialization error: {answer['error']}")
            self._socket.close()
            raise RuntimeError("Executor worker returned error")
        self.facts = Facts(tuple(answer["facts"]["hosts"]), answer["facts"]["transport"])
        self.broken, self.shut_down = "", False
        self._until = 0.0
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._progress: asyncio.Event | None = None
        self._aborted: dict[str, str] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    def _first_answer(self) -> Message:
        while True:
            data = self._socket.recv(65536)
            if not data:
                raise RuntimeError("Executor worker died during initialization")
            for message in self._unpacker.feed(data):
                return message

    async def attach(self) -> None:
        """Move the connection into the event loop."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._progress = asyncio.Event()
        self._reader = asyncio.create_task(self._read(reader))

    async def begin(self, request: str) -> None:
        """Wait for the ranks' first step with this request."""
        if self.shut_down:
            raise EngineError(SHUT_DOWN)
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[request] = begun
        self._send({"op": "begin", "id": request})
        await begun

    async def worked_until(self, request: str, moment: float) -> None:
        """Wait for the step that covers the moment."""
        while moment > self._until:
            assert self._progress is not None
            await self._progress.wait()
            if self.shut_down:
                raise EngineError(SHUT_DOWN)
            if request in self._aborted:
                raise EngineError(self._aborted.pop(request))

    def end(self, request: str) -> None:
        """Let the ranks rest when it was the last one."""
        self._waiting.pop(request, None)
        self._send({"op": "end", "id": request})

    async def close(self) -> None:
        """Ask the leader to stop, and wait until it hangs up."""
        self._send({"op": "shutdown"})
        if self._reader is not None:
            await self._reader
        if self._writer is not None:
            self._writer.close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(pack(message))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            for message in self._unpacker.feed(data):
                self._take(message)
        self._leader_is_gone()

    def _leader_is_gone(self) -> None:
        """End every request: nobody works on them any more."""
        assert self._progress is not None
        self.shut_down = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(EngineError(SHUT_DOWN))
        self._progress.set()

    def _take(self, message: Message) -> None:
        assert self._progress is not None
        self.broken = message.get("error") or self.broken
        if message["op"] == "progress":
            self._until = message["until"]
        elif message["op"] == "begun":
            waiting = self._waiting.pop(message["id"], None)
            if waiting is not None and not waiting.done():
                if message["error"]:
                    waiting.set_exception(EngineError(message["error"]))
                else:
                    waiting.set_result(None)
        elif message["op"] == "aborted":
            self._aborted[message["id"]] = message["error"]
        self._progress.set()
        self._progress = asyncio.Event()
