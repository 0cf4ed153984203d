"""Paths of the operator's machine as somebody wrote them: whatever they are, they end in no traceback."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(text: str) -> Path:
    """The path, with the home that its ~ or ~USER stands for; as it is where there is no such user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib's raises RuntimeError


def is_file(path: Path) -> bool:
    """Whether a file is there; no for one that cannot be reached, and for a name that is too long."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib's raises OSError


def is_folder(path: Path) -> bool:
    """Whether a folder is there; no for one that cannot be reached."""
    return os.path.isdir(path)  # noqa: PTH112 - likewise
