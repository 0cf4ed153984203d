"""How far a transfer is, in words: amounts, rates and time left, for each node and the files that arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

#: Rates are over the last seconds: a mean over all hides that a line has become slow.
WINDOW_S = 10.0
FILES_SHOWN = 3


class Progress:
    """Fed with the nodes' status documents (remote/node/weights_agent.py), gives a line of text.

    `names[i]` is node i's name. Times in seconds, from any clock that does not jump.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def line(self, now: float, statuses: Mapping[int, Mapping[str, Any]]) -> str:
        """One line for all nodes with something to do."""
        parts = []
        for number, status in sorted(statuses.items()):
            name, size = self.names[number], int(status.get("size", 0))
            if not size:
                if status.get("hashed") and status.get("state") == "running":
                    rate = self._rate(now, f"{number} hash", int(status["hashed"]))
                    parts.append(f"{name}: checked {_gb(int(status['hashed']))}{_speed(rate)}")
                continue
            done = int(status["bytes"])
            text = f"{name}: {_gb(done)} of {_gb(size)}"
            if done < size:
                text += self._outlook(now, str(number), done, size)
            if status.get("arriving"):
                text += f" ({', '.join(self._files(now, number, status['arriving']))})"
            if status.get("note") and done < size:
                text += f" [{status['note']}]"
            parts.append(text)
        return "; ".join(parts)

    def _files(self, now: float, number: int, arriving: Sequence[Sequence[Any]]) -> list[str]:
        found = []
        for path, done, size in arriving[:FILES_SHOWN]:
            outlook = self._outlook(now, f"{number} {path}", int(done), int(size))
            found.append(f"{path} {100 * int(done) // max(1, int(size))} %{outlook}")
        return found

    def _outlook(self, now: float, key: str, done: int, size: int) -> str:
        rate = self._rate(now, key, done)
        return f"{_speed(rate)}, {_duration((size - done) / rate)} left" if rate else ""

    def _rate(self, now: float, key: str, done: int) -> float:
        """Bytes per second over the window; 0 while unknown."""
        seen = self._seen.setdefault(key, deque())
        seen.append((now, done))
        while now - seen[0][0] > WINDOW_S:
            seen.popleft()
        (since, before) = seen[0]
        return max(0.0, (done - before) / (now - since)) if now > since else 0.0


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _speed(rate: float) -> str:
    return f", {rate / 1e9:.2f} GB/s" if rate else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
