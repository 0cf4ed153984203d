"""The NCCL in the image."""

import os


def version() -> tuple[int, ...]:
    """(major, minor, patch), as the image's base says."""
    return tuple(int(part) for part in os.environ.get("NCCL_VERSION", "2.28.9").split("."))
