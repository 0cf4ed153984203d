"""What the graph floor needs of its process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _loop() -> Iterator[None]:
    """Pulumi's mocks take the thread's event loop; an `asyncio.run` of a test before has left none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
