"""How long a server may take to become ready: by its model's size and the rate of the last load."""

from __future__ import annotations

import re

#: Before anything was measured: a fast NVMe reads at several GB/s, but a first start also tunes and captures
#: graphs (110 s for 63 GB of gpt-oss-120b on a GB10, its log in all: 0.6 GB/s). Bytes per second.
FIRST_RATE = 0.5e9
#: A start may take so many times what it took last time: a cold page cache, a busy disk.
MARGIN = 3.0
#: Compiling and tuning, whatever the size.
LEAST_S = 300.0
#: Smaller models say nothing about the rate: their start is all overhead.
TELLING_BYTES = 5e9


def too_late(seconds: float, model: str, url: str, seen: str) -> str:
    """The sentence for a server that was not ready at its deadline; `seen`: how far it was."""
    return f"waited {seconds:.0f} s for {model} to answer at {url} (readyTimeout); last seen: {seen}"


def is_too_late(text: str) -> bool:
    """Whether an error's text has that sentence. Of a provider's error, Pulumi hands on the text alone."""
    return re.search(r"waited \d+ s for \S+ to answer", text) is not None


def patience(size: int, rate: float | None) -> float:
    """Seconds to wait for a model of `size` bytes; `rate` in bytes/s as measured, None when it never was."""
    return max(LEAST_S, MARGIN * size / (rate or FIRST_RATE))


def load_rate(size: int, seconds: float) -> float | None:
    """The measured rate in bytes/s from start to first completion; None where it tells nothing."""
    return size / seconds if size >= TELLING_BYTES and seconds > 0 else None
