"""The quick faults once more, with a Spark's own generation of Docker and NVIDIA's own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import sparks
from tests.lab.stack import PREPARED
from tests.lab.test_faults import (  # noqa: F401
    pair,
    pytestmark,
    test_it_serves_again_and_nothing_is_left_behind,
)


@pytest.fixture(scope="module")
def lab() -> Iterator[dict[str, Any]]:
    with sparks.fresh("t-faults-29", "--nodes", "2", *PREPARED, *sparks.DOCKER_29) as found:
        yield found
