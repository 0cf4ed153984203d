"""The ring between ranks: real TCP connections over the chosen rails, real bytes.

Every rank listens on each of its rails' addresses and connects to the next rank from there, so an
address that does not work fails here, as NCCL's connection set-up would.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import counters
from .async_events import AsyncEvents
from .log import COMPLETION, LISTEN, MODIFY_QP, REMOTE, SOCKET_CALL, SYSTEM, Log, NcclError, Source
from .transport import NO_DATA, Rail, Transport

CONNECT_SECONDS = 15.0
"""How long a connection is tried (NCCL retries for about as long)."""
PROBE = bytes(range(256)) * 256
"""What goes around once at the start: 64 KiB on every rail."""
STEP = b"\x5a" * 65536
"""What goes around on every rail with every step of the engine (real layers move more)."""


@dataclass(frozen=True)
class Place:
    """Where a rank listens on one of its rails, as every other rank is told."""

    host: str
    port: int
    network: str = ""
    gid: str = ""
    family: str | None = None


def pairs(mine: Sequence[Place], theirs: Sequence[Place], by_subnet: bool) -> list[tuple[int, int]]:
    """[(place of mine, place of theirs), …]: equal places, as NCCL does it.

    `by_subnet`: where equal places are in different subnets one of them is moved, if the other's subnet
    is among the mover's; field report: a ring whose cable joins port 0 to port 0 therefore fails.
    """
    found = []
    for number in range(max(len(mine), len(theirs))):
        own, other = number % len(mine), number % len(theirs)
        if by_subnet and mine[own].network != theirs[other].network:
            facing = [n for n, place in enumerate(theirs) if place.network == mine[own].network]
            turned = [n for n, place in enumerate(mine) if place.network == theirs[other].network]
            if facing:
                other = facing[0]
            elif turned:
                own = turned[0]
        found.append((own, other))
    return list(dict.fromkeys(found))


AllGather = Callable[[Any], list[Any]]


class Ring:
    """This rank's connections to its two neighbours."""

    def __init__(self, rank: int, size: int, transport: Transport, allgather: AllGather, log: Log) -> None:
        """Connect; every rank must do so at the same time.

        Raises:
            NcclError: an address is not this machine's, or the neighbour cannot be reached.
        """
        self._log = log
        self._transport = transport
        self._out: dict[socket.socket, Rail] = {}
        self._in: dict[socket.socket, Rail] = {}
        self._lost: dict[socket.socket, tuple[int, int]] = {}
        self._listeners: list[socket.socket] = []
        self._events = AsyncEvents(transport.rails, log)
        try:
            self._connect(rank, size, allgather)
            self.exchange(PROBE, CONNECT_SECONDS)
        except (NcclError, TimeoutError) as error:
            self.close()
            raise error if isinstance(error, NcclError) else NcclError(SYSTEM) from error
        self._events.start()
        log.info("Connected all rings")

    def exchange(self, payload: bytes, patience: float | None = None) -> None:
        """Send to the next rank and receive as much from the one before, on every rail.

        Without `patience` (seconds) it waits for ever for a silent neighbour, as NCCL does.

        Raises:
            NcclError: a connection broke.
            TimeoutError: nothing moved for that long.
        """
        self._count_lost()
        unsent = {connection: memoryview(payload) for connection in self._out}
        missing = dict.fromkeys(self._in, len(payload))
        while unsent or missing:
            readable, writable, _ = select.select(list(missing), list(unsent), [], patience)
            if not readable and not writable:
                raise TimeoutError
            try:
                for connection in writable:
                    rest = unsent[connection][connection.send(unsent[connection]) :]
                    unsent[connection] = rest
                    if not rest:
                        del unsent[connection]
                for connection in readable:
                    data = connection.recv(min(missing[connection], 65536))
                    if not data:
                        raise ConnectionResetError("closed by the peer")
                    missing[connection] -= len(data)
                    if not missing[connection]:
                        del missing[connection]
            except OSError as error:
                self._log.warn(*self._gone(error))
                raise NcclError(REMOTE) from error
        for rail in self._out.values():
            if rail.counters is not None:
                counters.add(rail.counters, sent=len(payload))
        for rail in self._in.values():
            if rail.counters is not None:
                counters.add(rail.counters, received=len(payload))

    def _count_lost(self) -> None:
        """Count what the connections lost in the steps before, on the sender's port and the receiver's."""
        for connection, rail in (*self._out.items(), *self._in.items()):
            if rail.counters is not None:
                now, before = counters.lost(connection), self._lost.get(connection, (0, 0))
                if now is not None:
                    counters.lose(rail.counters, now[0] - before[0], now[1] - before[1])
                    self._lost[connection] = (max(now[0], before[0]), max(now[1], before[1]))

    def _gone(self, error: OSError) -> tuple[str, Source]:
        """NCCL's line for a peer that ended or went silent."""
        if self._transport.name == "Socket":
            return f"socketProgress: Connection closed by remote peer: {error}", SOCKET_CALL
        status = "12" if self._log.version < (2, 28) else "IBV_WC_RETRY_EXC_ERR(12)"
        device = self._transport.rails[0].device.partition(":")[0]
        return f"NET/IB: Got completion from peer with status={status} hca {device} ({error})", COMPLETION

    def wait(self, seconds: float) -> None:
        """Sleep, shortly only when bytes of the rank before are waiting."""
        ready, _, _ = select.select(list(self._in), [], [], seconds)
        if ready:
            time.sleep(2e-4)

    def close(self) -> None:
        """Drop the connections."""
        self._events.close()
        for connection in (*self._out, *self._in, *self._listeners):
            with contextlib.suppress(OSError):
                connection.close()

    def _connect(self, rank: int, size: int, allgather: AllGather) -> None:
        rails = self._transport.rails
        for rail in rails:
            self._listeners.append(self._listen(rail.address))
        everyone = [
            [Place(*place) for place in places]
            for places in allgather(
                [
                    (*listener.getsockname(), rail.network, str(rail.gid or ""), rail.gid and rail.gid.family)
                    for listener, rail in zip(self._listeners, rails, strict=True)
                ]
            )
        ]
        aware = self._transport.by_subnet
        after, before = (rank + 1) % size, (rank - 1) % size
        for own, other in pairs(everyone[rank], everyone[after], aware):
            self._say(own, rank, after, "send")
            rail, peer = rails[own], everyone[after][other]
            self._reachable(rail, everyone[rank][own], peer)
            self._out[self._dial(rail, peer)] = rail
        incoming = pairs(everyone[before], everyone[rank], aware)
        for _, own in incoming:
            self._say(own, before, rank, "receive")
        self._accept(len(incoming))

    def _reachable(self, rail: Rail, own: "Place", peer: "Place") -> None:
        """RoCE resolves a peer on its own link only: no route leads to another subnet or family."""
        if rail.gid is not None and not rail.gid.there:
            self._log.warn(rail.failure(peer.gid, NO_DATA), MODIFY_QP)
            raise NcclError(SYSTEM)
        if (own.network and peer.network and own.network != peer.network) or own.family != peer.family:
            time.sleep(CONNECT_SECONDS)
            self._log.warn(rail.failure(peer.gid), MODIFY_QP)
            raise NcclError(SYSTEM)

    def _say(self, number: int, sender: int, receiver: int, side: str) -> None:
        name = f"NET/{self._transport.name}/{number}"
        text = f"Channel {number:02d}/0 : {sender}[0] -> {receiver}[0] [{side}] via {name}"
        self._log.info(text, "INIT", "NET")

    def _listen(self, address: str) -> socket.socket:
        try:
            listener = socket.create_server((address, 0))
        except OSError as error:
            self._log.warn(f"Call to bind failed: {error.strerror}", LISTEN)
            raise NcclError(SYSTEM) from error
        return listener

    def _dial(self, rail: Rail, peer: "Place") -> socket.socket:
        until = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                left = max(until - time.monotonic(), 0.1)
                connection = socket.create_connection((peer.host, peer.port), left, (rail.address, 0))
            except OSError as error:
                if time.monotonic() < until:
                    time.sleep(0.2)
                    continue
                self._failed(rail, peer, error)
                raise NcclError(SYSTEM) from error
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

    def _failed(self, rail: Rail, peer: "Place", error: OSError) -> None:
        if self._transport.name == "IB":
            self._log.warn(rail.failure(peer.gid), MODIFY_QP)
        else:
            reason = error.strerror or str(error)
            self._log.warn(
                f"socketPollConnect: connect to {peer.host}<{peer.port}> returned {reason}, "
                "exceeded error retry count after 35 attempts",
                SOCKET_CALL,
            )

    def _accept(self, expected: int) -> None:
        """Take the connections of the rank before; each of its rails connects once."""
        until = time.monotonic() + CONNECT_SECONDS
        while len(self._in) < expected:
            left = max(until - time.monotonic(), 0)
            ready, _, _ = select.select(self._listeners, [], [], left)
            if not ready:
                self._log.warn("socketProgress: Connection closed by remote peer", SOCKET_CALL)
                raise NcclError(SYSTEM)
            for listener in ready:
                connection, _ = listener.accept()
                connection.setblocking(False)
                here = connection.getsockname()[0]
                self._in[connection] = next(r for r in self._transport.rails if r.address == here)
        while self._listeners:
            self._listeners.pop().close()
