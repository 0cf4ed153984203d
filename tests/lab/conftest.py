"""The lab floor's machines: two simulated Sparks for all tests of a process.

LAB_DOCKER=29 gives them Docker 29 and NVIDIA's own runtime, with another image store on each node.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.stack import PREPARED, ROOT

#: One for each process of pytest-xdist.
NAME = "test" + os.environ.get("PYTEST_XDIST_WORKER", "").replace("gw", "-")
DOCKER_29 = ("--docker", "29", "--variant", "spark-2:image-store=overlay2")


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
    # The tests of a deployment start where the owner of the Sparks has done their part.
    docker = DOCKER_29 if os.environ.get("LAB_DOCKER") == "29" else ()
    _lab("up", "--nodes", "2", *PREPARED, *docker)
    try:
        yield json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())
    finally:
        _lab("down")
