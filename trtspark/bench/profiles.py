"""The named loads. Names and sizes of the shell scripts this project succeeds, so that figures compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """How many requests, of how many tokens in and out, so many at once. `rate` in requests/s, or None."""

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    concurrency: int
    about: str
    rate: float | None = None


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("quick", 10, 128, 128, 4, "a first look, in a minute"),
        Profile("short", 50, 256, 256, 8, "short questions and answers"),
        Profile("medium", 100, 512, 512, 16, "a working day's chat"),
        Profile("long", 200, 1024, 1024, 16, "long prompts and answers"),
        Profile("throughput", 500, 256, 256, 64, "how much it can do at once"),
        Profile("latency", 100, 128, 128, 1, "one request at a time: how quick it can be"),
        Profile("stress", 1000, 512, 512, 64, "whether it holds"),
    )
}
DEFAULT = "quick"
#: Thrown away before every run: kernels compile, caches fill, connections open.
WARMUP_REQUESTS = 4
