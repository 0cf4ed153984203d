"""One process group over NCCL's simulation. What is moved and how fast is scaled as ib_write_bw's
simulation does it: a thousandth of the bytes, at no more than a thousandth of what the adapter could do.
"""

import contextlib
import json
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from tensorrt_llm.nccl.interfaces import all_interfaces  # type: ignore[import-not-found,unused-ignore]
from tensorrt_llm.nccl.log import Log, NcclError  # type: ignore[import-not-found,unused-ignore]
from tensorrt_llm.nccl.ring import Ring  # type: ignore[import-not-found,unused-ignore]
from tensorrt_llm.nccl.transport import Transport, choose  # type: ignore[import-not-found,unused-ignore]

from .. import Tensor
from ..cuda import nccl

SCALE = 1000
PCIE_SHARE = 111.7 / 126.0
CABLE_SHARE = 190.0 / 200.0
SOCKET_GBPS = 20.0
"""What NCCL's sockets reach on a Spark: a few TCP streams."""


class DistBackendError(RuntimeError):
    """What PyTorch makes of an error of NCCL's."""


class Store:
    """The ranks' meeting: rank 0 listens, and hands everybody what all gave."""

    def __init__(self, address: str, port: int, rank: int, size: int, patience: float) -> None:
        self.rank, self.size = rank, size
        self._peers: list[Any] = []
        if rank == 0:
            with socket.create_server((address, port)) as listener:
                listener.settimeout(patience)
                for _ in range(size - 1):
                    self._peers.append(listener.accept()[0].makefile("rw"))
        else:
            self._peers.append(self._dial(address, port, patience).makefile("rw"))

    def _dial(self, address: str, port: int, patience: float) -> socket.socket:
        deadline = time.monotonic() + patience
        while True:
            try:
                return socket.create_connection((address, port), 5)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise DistBackendError(
                        f"The client socket has timed out after {patience:.0f}s while trying to connect to "
                        f"({address}, {port})."
                    ) from error
                time.sleep(0.2)

    def allgather(self, value: Any) -> list[Any]:
        """What every rank gave, in the order of ranks."""
        if self.rank:
            self._write(self._peers[0], [self.rank, value])
            return list(self._read(self._peers[0]))
        found = dict([(0, value), *(tuple(self._read(peer)) for peer in self._peers)])
        answer = [found[rank] for rank in range(self.size)]
        for peer in self._peers:
            self._write(peer, answer)
        return list(json.loads(json.dumps(answer)))  # as the others get it

    @staticmethod
    def _write(peer: Any, value: Any) -> None:
        peer.write(json.dumps(value) + "\n")
        peer.flush()

    @staticmethod
    def _read(peer: Any) -> Any:
        line = peer.readline()
        if not line:
            raise DistBackendError("Connection was likely closed. Did the remote server shutdown or crash?")
        return json.loads(line)


class Group:
    """The ring between the ranks."""

    def __init__(self, store: Store) -> None:
        self.store = store
        version = ".".join(map(str, nccl.version()))
        log = Log(os.environ, version)
        if store.rank == 0:
            log.first_line(f"NCCL version {version}")
        try:
            self.transport: Transport = choose(os.environ, log, all_interfaces())
            self.ring = Ring(store.rank, store.size, self.transport, store.allgather, log)
            self.rate = min(store.allgather(self._rate()))
        except NcclError as error:
            raise DistBackendError(f"NCCL error in: ProcessGroupNCCL.cpp:3690, {error}") from error

    def all_reduce(self, size: int) -> None:
        """The ring's share of an all-reduce of `size` bytes, no faster than the adapter."""
        rails = self.transport.rails
        mine = int(size * 2 * (self.store.size - 1) / self.store.size)
        begun = time.monotonic()
        self.ring.exchange(bytes(max(1, mine // SCALE // len(rails))), patience=60)
        time.sleep(max(0.0, begun + mine * 8 / self.rate - time.monotonic()))

    def _rate(self) -> float:
        """Bits a second of this rank's rails together."""
        if self.transport.name != "IB":
            return SOCKET_GBPS * 1e9
        devices = [
            Path("/sys/class/infiniband") / rail.device.partition(":")[0] for rail in self.transport.rails
        ]
        slowest = min(_pcie(device) for device in devices)
        cable = int((devices[0] / "ports/1/rate").read_text().split()[0]) * CABLE_SHARE
        return min(slowest * len(devices), cable) * 1e9


_group: list[Group] = []


def init_process_group(
    backend: str, *, init_method: str, rank: int, world_size: int, timeout: timedelta
) -> None:
    """Meet the others at `init_method`, tcp://ADDRESS:PORT."""
    if backend != "nccl":
        raise NotImplementedError("the simulation knows NCCL only")
    address, _, port = init_method.removeprefix("tcp://").rpartition(":")
    _group.append(Group(Store(address, int(port), rank, world_size, timeout.total_seconds())))


def all_reduce(tensor: Tensor) -> None:
    """Bytes go around; every rank must do so at the same time."""
    _group[-1].all_reduce(tensor.bytes)


def destroy_process_group() -> None:
    """Leave."""
    with contextlib.suppress(IndexError):
        _group.pop().ring.close()


def _pcie(device: Path) -> float:
    speed = float((device / "device/current_link_speed").read_text().split()[0])
    return int((device / "device/current_link_width").read_text()) * speed * 128 / 130 * PCIE_SHARE
