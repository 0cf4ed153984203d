"""Which release is simulated, and the order of releases."""

import os
import re

DEFAULT = "1.3.0rc5"
EARLY_2026 = "1.3.0rc1"
"""First release of age E."""
LATE_2026 = "1.3.0rc22"
"""First release of age N."""
HEALTH_IS_TRUE = "1.3.0rc13"
"""First release whose /health knows the PyTorch backend's failures (by source; pull request 9057 did not)."""
REUSE_ADDRESS = "1.3.0rc25"
"""First release whose server sets SO_REUSEADDR (pull request 17460, August 2026)."""
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
