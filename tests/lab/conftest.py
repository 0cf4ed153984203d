"""The lab floor's machines: two simulated Sparks for all its tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.stack import PREPARED, ROOT

NAME = "test"


def _lab(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", words[0], "--name", NAME, *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def lab() -> Iterator[dict[str, Any]]:
    """A fresh pair: its lab.json."""
    _lab("down")
    _lab("up", "--nodes", "2", *PREPARED)
    try:
        yield json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())
    finally:
        _lab("down")
