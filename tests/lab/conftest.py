"""The lab floor's machines: two simulated Sparks for all tests of a process.

LAB_DOCKER=29 gives them a Spark's own generation of Docker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import sparks
from tests.lab.stack import PREPARED

#: One for each process of pytest-xdist.
NAME = "test" + os.environ.get("PYTEST_XDIST_WORKER", "").replace("gw", "-")


@pytest.fixture(scope="session")
def lab() -> Iterator[dict[str, Any]]:
    """A fresh pair: its lab.json. Its owner has done what docs/preparing.md asks for."""
    docker = sparks.DOCKER_29 if os.environ.get("LAB_DOCKER") == "29" else ()
    with sparks.fresh(NAME, "--nodes", "2", *PREPARED, *docker) as found:
        yield found
