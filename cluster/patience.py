"""How long a server may take to become ready: by its model's size and the rate of the last load."""

from __future__ import annotations

#: Before anything was measured: a fast NVMe reads at several GB/s, but a first start also tunes and captures
#: graphs (110 s for 63 GB of gpt-oss-120b on a GB10, its log in all: 0.6 GB/s). Bytes per second.
FIRST_RATE = 0.5e9
#: A start may take so many times what it took last time: a cold page cache, a busy disk.
MARGIN = 3.0
#: Compiling and tuning, whatever the size.
LEAST_S = 300.0
#: Smaller models say nothing about the rate: their start is all overhead.
TELLING_BYTES = 5e9


def patience(size: int, rate: float | None) -> float:
    """Seconds to wait for a model of `size` bytes; `rate` in bytes/s as measured, None when it never was."""
    return max(LEAST_S, MARGIN * size / (rate or FIRST_RATE))


def load_rate(size: int, seconds: float) -> float | None:
    """The measured rate in bytes/s from start to first completion; None where it tells nothing."""
    return size / seconds if size >= TELLING_BYTES and seconds > 0 else None
