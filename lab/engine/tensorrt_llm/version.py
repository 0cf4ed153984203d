"""Which release is simulated, and the order of releases."""

import os
import re

DEFAULT = "1.3.0rc5"
EARLY_2026 = "1.3.0rc1"
"""First release of age E."""
LATE_2026 = "1.3.0rc22"
"""First release of age N."""
DEEP_MERGE = "1.3.0rc3"
"""First release that merges the options file into the command line key by key, also inside objects."""
HEALTH_KNOWS_SHUTDOWN = "1.3.0rc3"
"""First release whose /health answers 503 on the PyTorch backend once its executor is shut down."""
HEALTH_KNOWS_ERRORS = "1.3.0rc13"
"""First release whose /health answers 503 after a fatal error of the executor (pull request 12718)."""
FAIL_FAST = "1.4.0rc0"
"""First release that refuses a sequence length which the KV cache cannot hold, unless told otherwise."""
REUSE_ADDRESS = "1.3.0rc25"
"""First release whose server sets SO_REUSEADDR (pull request 17460, August 2026)."""
TRANSFORMERS = (("1.3.0rc14", "4.57.6"), ("1.3.0rc13", "4.57.3"), ("1.3.0rc1", "4.57.1"),
                ("1.2.0", "4.57.3"))  # fmt: skip
"""First release with each version of transformers, newest first; 4.57.1 before. Known are 1.2.0, 1.2.1,
1.3.0rc5, 1.3.0rc13 and that one later image has 4.57.6; the releases between are assumed to be alike."""
_FINAL = 10_000  # a release without rc comes after all its candidates


def current() -> str:
    """The image's release, TRT_LLM_VERSION."""
    return os.environ.get("TRT_LLM_VERSION") or DEFAULT


def order(version: str) -> tuple[int, int, int, int]:
    """A key that sorts releases: 1.2.0rc4 < 1.2.0 < 1.3.0rc5.

    Raises:
        ValueError: not of the form 1.2.3 or 1.2.3rc4.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:rc(\d+))?", version)
    if match is None:
        raise ValueError(f"Not a release of TensorRT-LLM: {version!r}")
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch), int(candidate) if candidate else _FINAL


def at_least(first: str, version: str | None = None) -> bool:
    """Whether the release (by default the simulated one) is `first` or newer."""
    return order(version or current()) >= order(first)


def transformers(version: str | None = None) -> str:
    """The version of transformers in the image of a release (by default the simulated one)."""
    return next((found for first, found in TRANSFORMERS if at_least(first, version)), "4.57.1")
