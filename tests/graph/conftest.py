"""What the graph floor needs of its process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


class Remembering(asyncio.DefaultEventLoopPolicy):
    """Knows every loop that was made: Pulumi's mocks make one for each program and close none."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        self.made.append(loop)
        return loop


@pytest.fixture(scope="package", autouse=True)
def _loops() -> Iterator[None]:
    """Pulumi's mocks take the thread's event loop; an `asyncio.run` of a test before has left none."""
    before, policy = asyncio.get_event_loop_policy(), Remembering()
    asyncio.set_event_loop_policy(policy)
    asyncio.set_event_loop(asyncio.new_event_loop())
    yield
    asyncio.set_event_loop(None)
    for loop in policy.made:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
    asyncio.set_event_loop_policy(before)
