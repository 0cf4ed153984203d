"""Wait with a deadline, and say what was waited for."""

import time
from collections.abc import Callable

from lab.errors import LabError


def until(
    probe: Callable[[], str | None], what: str, deadline: float, *, pause: float = 0.05, hint: str
) -> None:
    """Call `probe` until it returns None; its words say what is still missing.

    `deadline` and `pause` are in seconds, `what` completes "Waited … for", `hint` says where to look.

    Raises:
        LabError: the deadline passed.
    """
    end = time.monotonic() + deadline
    while (seen := probe()) is not None:
        if time.monotonic() > end:
            raise LabError(f"Waited {deadline:g} s for {what}; last seen: {seen}. {hint}")
        time.sleep(pause)
