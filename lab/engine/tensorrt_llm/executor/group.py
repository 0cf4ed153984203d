"""Messages between ranks over MPI, without burning a core.

OpenMPI spins while it waits. Idle ranks of several simulated machines share one small computer
here, so every wait polls and sleeps instead.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

_TAG = 7
_FIRST_SLEEP = 50e-6
_LONGEST_SLEEP = 4e-3
_BUSY = 1.0
"""Seconds of short sleeps after the last message."""


class Communicator(Protocol):
    """The part of mpi4py's communicator that is used."""

    def Get_rank(self) -> int: ...  # noqa: N802 (mpi4py's name)
    def Get_size(self) -> int: ...  # noqa: N802
    def Iprobe(self, source: int, tag: int) -> bool: ...  # noqa: N802
    def isend(self, obj: object, dest: int, tag: int) -> Any: ...  # an mpi4py Request
    def recv(self, source: int, tag: int) -> Any: ...


class Group:
    """All ranks of one job, seen from one of them."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self.rank = communicator.Get_rank()
        self.size = communicator.Get_size()

    def next_order(self, nap: Callable[[], None]) -> Any:
        """Rank 0's next message, on another rank; `nap` sleeps, or wakes when rank 0 stirs."""
        while not self._communicator.Iprobe(source=0, tag=_TAG):
            nap()
        return self._communicator.recv(source=0, tag=_TAG)

    def send(self, to: int, message: object) -> None:
        """Send to one rank."""
        request = self._communicator.isend(message, dest=to, tag=_TAG)
        wait(lambda: bool(request.test()[0]))

    def receive(self, source: int, patience: float | None = None) -> Any:
        """The next message of one rank; waits for ever, or raises TimeoutError after `patience`."""
        wait(lambda: self._communicator.Iprobe(source=source, tag=_TAG), patience)
        return self._communicator.recv(source=source, tag=_TAG)

    def broadcast(self, message: object = None) -> Any:  # whatever was sent
        """Rank 0's message on every rank."""
        if self.rank != 0:
            return self.receive(0)
        for other in range(1, self.size):
            self.send(other, message)
        return message

    def gather(self, value: object, patience: float | None = None) -> list[Any]:
        """Everyone's value, in order, on rank 0; an empty list elsewhere.

        Raises:
            TimeoutError: on rank 0, when a rank was silent for `patience` seconds.
        """
        if self.rank != 0:
            self.send(0, value)
            return []
        return [value, *(self.receive(other, patience) for other in range(1, self.size))]

    def allgather(self, value: object) -> list[Any]:
        """Everyone's value, in order, on every rank."""
        gathered = self.gather(value)
        return list(self.broadcast(gathered))


def wait(done: Callable[[], bool], patience: float | None = None) -> None:
    """Poll until true, at first often, later seldom; TimeoutError after `patience` seconds."""
    begun = time.monotonic()
    pause = _FIRST_SLEEP
    while not done():
        time.sleep(pause)
        waited = time.monotonic() - begun
        if patience is not None and waited > patience:
            raise TimeoutError
        pause = min(pause * 1.5, _LONGEST_SLEEP if waited > _BUSY else _LONGEST_SLEEP / 8)
