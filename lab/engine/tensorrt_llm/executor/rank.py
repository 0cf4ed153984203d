"""One rank of the engine: load, meet the others, then take part in every step.

Runs in the process that holds the GPU: the leader for rank 0, mgmn_worker_node for the others, or
the server itself when there is no launcher.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checkpoint, gpu, kernels, startup_log
from ..logger import logger
from ..nccl.interfaces import all_interfaces
from ..nccl.log import Log, NcclError
from ..nccl.ring import STEP, Ring
from ..nccl.transport import choose
from ..version import at_least

HANG_SECONDS = 300.0
"""The real hang detector's patience."""
SHORT_NAP, LONG_NAP = 0.003, 0.1
"""Seconds between looks for a message from rank 0."""
NCCL_VERSIONS = (("1.3.0rc27", "2.30.7+cuda13.2"), ("1.3.0rc1", "2.28.9+cuda13.1"))
"""First release with each, newest first; before those 2.27.7, which NVIDIA's Dockerfiles of 1.2 name.

The others are approximate: no list of the images' NCCL versions is published.
"""

AllGather = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Job:
    """What the server asks all ranks to load."""

    folder: str  # found by rank 0, used by all
    args: dict[str, Any]  # see llm_args
    log_level: str = "info"  # for rank 0 alone


@dataclass(frozen=True)
class Facts:
    """What was true when the engine came up, gathered from all ranks."""

    hosts: tuple[str, ...]
    transport: str  # NET/IB, NET/Socket, or none with one rank


class Rank:
    """The engine's part on this process."""

    def __init__(self, number: int, size: int, allgather: AllGather) -> None:
        self._number = number
        self._size = size
        self._allgather = allgather
        self._ring: Ring | None = None

    def load(self, job: Job) -> Facts:
        """Load the weights and connect to the other ranks.

        Raises:
            RuntimeError: no GPU, no weights, out of memory, or NCCL failed (the real texts).
            ValueError, AssertionError, OSError: what the model's files give rise to.
        """
        begun = time.monotonic()
        if self._number == 0:
            logger.set_level(job.log_level)
        gpu.require(1)
        folder = Path(job.folder)
        config = checkpoint.read_config(folder)
        how = checkpoint.behaviour(folder)
        startup_log.before_weights(job.args)
        shards, tensors = checkpoint.load_weights(folder)
        self._pretend_to_load(how)
        startup_log.weights(folder, shards, tensors, time.monotonic() - begun)
        if how.fail == "crash_at_load" and self._number == 0:
            raise RuntimeError(
                "[TensorRT-LLM][ERROR] CUDA runtime error in "
                "cudaFuncGetAttributes(&attr, func): no kernel image is available for execution "
                "on the device"
            )
        transport = self._meet()
        split = (job.args["tensor_parallel_size"], job.args["pipeline_parallel_size"])
        work = kernels.Work(self._number, self._size, job.folder, split, how.compile_seconds)
        kernels.compile_modules(work)
        tuner = kernels.Autotuner(work, self._allgather)
        startup_log.after_weights(job.args, config, how.fail, tuner.warm_up)
        hosts = self._allgather(socket.gethostname())
        return Facts(tuple(hosts), transport)

    def step(self, patience: float | None = None) -> None:
        """One step together with the other ranks: bytes go around the ring.

        Raises:
            NcclError: a neighbour is gone.
            TimeoutError: a neighbour was silent for `patience` seconds.
        """
        if self._ring is not None:
            self._ring.exchange(STEP, patience)

    def nap(self) -> None:
        """Sleep a little; in the ring, until the rank before sends something."""
        if self._ring is None:
            time.sleep(SHORT_NAP)
        else:
            self._ring.wait(LONG_NAP)

    def close(self) -> None:
        """Leave the ring."""
        if self._ring is not None:
            self._ring.close()

    def _pretend_to_load(self, how: checkpoint.Behaviour) -> None:
        if how.fail == "never_ready":
            logger.info("Loading weights: waiting for storage")
            while True:
                time.sleep(60)
        time.sleep(how.load_seconds)

    def _meet(self) -> str:
        if self._size == 1:
            return "none"
        version = next((nccl for first, nccl in NCCL_VERSIONS if at_least(first)), "2.27.7+cuda13.0")
        log = Log(os.environ, version)
        if self._number == 0:
            log.first_line(f"NCCL version {version}")
        comm = f"comm 0x{id(self):x} rank {self._number} nranks {self._size} cudaDev 0 nvmlDev 0"
        # Which of the two an image's ranks call is not recorded: both forms have to be understood.
        call = "ncclCommInitRank" if log.version < (2, 28) else "ncclCommInitRankConfig"
        where = f"{call} {comm} busId f01000 commId 0x{os.getppid():x}"
        named = f"[Rank {self._number}] " if log.version >= (2, 29) else ""
        try:
            transport = choose(os.environ, log, all_interfaces())
            log.info(f"{named}{where} - Init START")
            self._ring = Ring(self._number, self._size, transport, self._allgather, log)
        except NcclError as error:
            text = f"Failed, NCCL error /src/tensorrt_llm/cpp/ncclCommunicator.cpp:90 '{error}'"
            logger.cpp(f"Assertion failed: {text}", "ERROR")
            raise RuntimeError(f"[TensorRT-LLM][ERROR] Assertion failed: {text}") from error
        log.info(f"{where} - Init COMPLETE")
        names = set(self._allgather(f"NET/{transport.name}"))
        return " and ".join(sorted(names))
