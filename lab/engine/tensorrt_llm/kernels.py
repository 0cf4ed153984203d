"""What a start compiles and tunes, and the files that spare the next start the work.

Simulated after 1.3's `_torch/autotuner.py` and FlashInfer's `jit/env.py`:
- FlashInfer builds its modules below FLASHINFER_WORKSPACE_BASE, Triton its kernels below TRITON_CACHE_DIR.
  Without those variables both are in root's home, which ends with the container.
- The autotuner reads and writes TLLM_AUTOTUNER_CACHE_PATH, a section for each rank. It takes what it reads as
  it is: release, GPU and model are not compared. A file that is no JSON, or has no section of this rank, ends
  the start.
- A rank that finds an operation in its file skips the tuning, and with it the exchange with the other ranks:
  one that does not find it waits for them for ever.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .logger import logger
from .version import current

OPERATION = "('trtllm::fp4_gemm::gemm', 'FP4GemmRunner', '(torch.bfloat16,)', ((2048, 1536), (0,), (0,)))"
MODULES = 2
"""FlashInfer's and Triton's: one file of each stands for all."""
STALE_TACTIC = "[FP4 gemm Runner] Failed to run cutlass FP4 gemm on sm120. Error: Error Internal"


@dataclass(frozen=True)
class Work:
    """What one rank would compile and tune. `seconds`: how long that takes without any cache."""

    number: int
    size: int
    folder: str
    split: tuple[int, int]
    seconds: float

    @property
    def tactic(self) -> int:
        """The number of the right kernel, which the release, the model and its split decide."""
        told = json.dumps([current(), self.folder, self.split, self.size])
        return int(hashlib.sha256(told.encode()).hexdigest()[:6], 16)


def compile_modules(work: Work) -> None:
    """Build what is not there yet.

    Raises:
        OSError: a module was left half written (the loader's text).
    """
    home = os.environ.get("HOME", "/root")
    base = Path(os.environ.get("FLASHINFER_WORKSPACE_BASE", home))
    triton = Path(os.environ.get("TRITON_CACHE_DIR", f"{home}/.triton/cache"))
    content = hashlib.sha256(work.folder.encode()).hexdigest()[:16]
    wanted = (
        base / ".cache/flashinfer" / current() / "121a/cached_ops" / content / f"{content}.so",
        triton / content / "kernel.cubin",
    )
    built = [_module(path, work.seconds / 2 / MODULES) for path in wanted]
    if any(built):
        logger.info(f"(simulated) compiled {sum(built)} kernel modules")


class Autotuner:
    """One rank's: what it has found stays in memory until the process ends."""

    def __init__(self, work: Work, allgather: Callable[[Any], list[Any]]) -> None:
        self._work = work
        self._allgather = allgather
        self._tactics: dict[str, dict[str, Any]] = {}

    def warm_up(self) -> None:
        """Tune what has no tactic yet.

        Raises:
            ValueError, KeyError, AssertionError: the file cannot be used.
            RuntimeError: a tactic of another release, model or split.
        """
        given = os.environ.get("TLLM_AUTOTUNER_CACHE_PATH")
        path = Path(given) if given else None
        if path and path.exists():
            logger.info(f"[Autotuner] Loading cache from {path}")
            self._tactics = _load(path, self._work.number)
        logger.info("[Autotuner] Autotuning process starts ...")
        self._tune()
        logger.info("[Autotuner] Cache size after warmup is 28")
        logger.info("[Autotuner] Autotuning process ends")
        if path:
            logger.info(f"[Autotuner] Saving cache to {path}")
            _save(path, self._work.number, self._tactics)

    def _tune(self) -> None:
        hits = self._allgather(OPERATION in self._tactics)
        if not any(hits):
            time.sleep(self._work.seconds / 2)
            best = {"runner_id": 0, "tactic": str(self._work.tactic), "min_time": 0.021}
            self._tactics[OPERATION] = best
            logger.info("(simulated) tuned 1 operation")
        elif not all(hits):
            while True:  # the others have nothing to tell, and this rank waits for them
                time.sleep(60)
        if int(self._tactics[OPERATION]["tactic"]) != self._work.tactic:
            raise RuntimeError(STALE_TACTIC)


def _module(path: Path, seconds: float) -> bool:
    """Whether it had to be built."""
    if path.exists():
        if not path.read_bytes().endswith(b"\n"):
            raise OSError(f"{path}: file too short")
        return False
    time.sleep(seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("simulated machine code\n")
    return True


def _load(path: Path, rank: int) -> dict[str, dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            content = json.load(file)
        assert f"rank_{rank}" in content, f"Rank {rank} cache not found in {path}"
    except Exception as error:
        logger.error(f"[AutoTuner] Failed to load cache with JSON: {error}")
        raise
    logger.info(f"[AutoTuner] Successfully loaded cache from {path} using JSON format")
    found: dict[str, dict[str, Any]] = content[f"rank_{rank}"]
    return found


def _save(path: Path, rank: int, tactics: dict[str, dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        about = {"lib_version": current(), "device_name": "NVIDIA GB10", "device_capability": [12, 1]}
        content = json.loads(text) if text.strip() else {"metadata": about}
        content[f"rank_{rank}"] = tactics
        file.seek(0)
        file.truncate()
        json.dump(content, file, indent=2)
    logger.info(f"[AutoTuner] Successfully saved cache to {path} using JSON format")
