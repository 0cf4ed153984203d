"""How far a starting server is, from its log: in the order in which TensorRT-LLM 1.2 to 1.3 logs it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANK = re.compile(r"mpi_rank: (\d+)")
_SIZE = re.compile(r"Use ([\d.]+) GB for model weights")
_LOADING = re.compile(r"Loading (?:safetensors )?weights[^:]*:\s+(\d+)%")
_WAITING = re.compile(r"\[trtspark\] waiting for (rank \d+ at [^:]+)")
#: A line's sign -> the phase that begins with it; later ones win.
_PHASES: Sequence[tuple[str, str]] = (
    ("[trtspark] starting:", "starting the ranks"),
    ("TensorRT LLM version", "engine starts"),
    ("Prefetching", "reading the files"),
    ("Model init total", "weights loaded"),
    ("Autotuning process starts", "tuning kernels"),
    ("Autotuning process ends", "kernels tuned"),
    ("Creating CUDA graph", "capturing CUDA graphs"),
    ("Running CUDA graph capture", "capturing CUDA graphs"),
    ("Application startup complete", "up, the first completion is awaited"),
)


def progress(lines: Sequence[str], ranks: int) -> str:
    """One short text: phase, ranks joined, GB loaded of a rank's part; "" when the log says nothing yet."""
    joined: set[str] = set()
    phase, size, percent = "", 0.0, None
    for line in lines:
        if found := _RANK.search(line):
            joined.add(found[1])
        if found := _SIZE.search(line):
            size = float(found[1])
        if found := _LOADING.search(line):
            phase, percent = "loading weights", int(found[1])
        elif found := _WAITING.search(line):
            phase = f"waiting for {found[1]}"
        for sign, name in _PHASES:
            if sign in line:
                phase = name
    parts = [phase] if phase else []
    if phase == "loading weights" and percent is not None:
        parts.append(f"{size * percent / 100:.1f} of {size:.1f} GB" if size else f"{percent} %")
    if joined and ranks > 1:
        parts.append(f"{len(joined)} of {ranks} ranks")
    return ", ".join(parts)
