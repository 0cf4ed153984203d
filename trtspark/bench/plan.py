"""From the command line to runs: a profile, what was said otherwise, one run per concurrency."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ConfigError
from trtspark.bench.profiles import PROFILES, WARMUP_REQUESTS
from trtspark.bench.results import Dataset, Workload

#: More than this at once needs more sockets than a login usually has (1,024 files).
MOST_AT_ONCE = 10_000
MOST_REQUESTS = 10_000_000


@dataclass(frozen=True)
class Wishes:
    """What the command line says; None: as the profile has it."""

    profile: str
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    concurrency: Sequence[int] = ()
    rate: float | None = None
    duration: float | None = None
    dataset: Path | None = None
    seed: int = 0
    warmup: int | None = None
    timeout: float = 600.0


def concurrencies(text: str) -> list[int]:
    """`4` or `1,4,16`. Raises ConfigError."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 1 <= each <= MOST_AT_ONCE for each in found):
        raise ConfigError(
            f"--concurrency: found {text!r}; it may be a number from 1 to {MOST_AT_ONCE}, "
            "or a list like 1,4,16"
        )
    return list(dict.fromkeys(found))


def workloads(wishes: Wishes) -> list[Workload]:
    """The runs, in order. Raises ConfigError for a profile or a mixture that makes no sense."""
    profile = PROFILES.get(wishes.profile)
    if profile is None:
        raise ConfigError(f"there is no profile {wishes.profile!r}. It may be one of: {', '.join(PROFILES)}.")
    if wishes.dataset is not None and wishes.input_tokens is not None:
        raise ConfigError("--dataset brings its own prompts: leave -i out")
    if wishes.rate is not None and len(wishes.concurrency) > 1:
        raise ConfigError("--rate is an open loop: give one --concurrency (its bound), or none")
    changed = any(
        each is not None
        for each in (wishes.requests, wishes.input_tokens, wishes.output_tokens, wishes.rate, wishes.dataset)
    )
    requests = wishes.requests or profile.requests
    if wishes.duration and wishes.requests is None:
        requests = MOST_REQUESTS  # the clock ends it
    rate = wishes.rate or profile.rate
    at_once = list(wishes.concurrency) or [requests if rate else profile.concurrency]
    dataset = _dataset(wishes.dataset) if wishes.dataset else None
    warmup = WARMUP_REQUESTS if wishes.warmup is None else wishes.warmup
    return [
        Workload(
            profile="custom" if changed else wishes.profile,
            requests=requests,
            input_tokens=None if dataset else wishes.input_tokens or profile.input_tokens,
            output_tokens=wishes.output_tokens if dataset else wishes.output_tokens or profile.output_tokens,
            concurrency=min(each, MOST_AT_ONCE),
            rate_per_s=rate,
            duration_s=wishes.duration,
            dataset=dataset,
            seed=wishes.seed,
            warmup=warmup,
            timeout_s=wishes.timeout,
        )
        for each in at_once
    ]


def _dataset(path: Path) -> Dataset:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while piece := handle.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise ConfigError(f"--dataset: {path} cannot be read: {error.strerror}") from None
    return Dataset(name=path.name, sha256=digest.hexdigest())
