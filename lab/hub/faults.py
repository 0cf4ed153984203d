"""What can be made to go wrong, for which files, and how often (docs/contracts.md has the table)."""

from __future__ import annotations

import fnmatch
import itertools
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

INSTEAD = ("status", "rate_limit", "silent")
"""Kinds that replace the answer."""
BEFORE = (*INSTEAD, "delay", "expire", "no_range")
"""Kinds that count with every request they match."""
BODY = ("reset", "cut", "short", "slow", "hang", "corrupt")
"""Kinds that count with every 200 or 206 of which they touch the body."""
PLACES = ("api", "resolve", "cdn", "encodings")


class BadFault(ValueError):
    """A fault that cannot be."""


@dataclass
class Fault:
    """One rule; `model` and `file` are patterns as the shell's."""

    kind: str
    model: str = "*"
    file: str = "*"
    place: str = "*"
    method: str = "*"
    times: int | None = None  # requests; None: until it is taken away
    status: int = 503
    after: int = 0  # bytes of the body
    at: int = 0  # offset in the file of the changed byte
    rate: float = 0.0  # bytes per second
    shared: bool = False  # the rate is for all connections together
    seconds: float = 0.0
    retry_after: int | str | None = None  # seconds, a date, or whatever a proxy says
    id: int = 0
    hits: int = 0
    _next: float = field(default=0.0, repr=False)
    _begun: float = field(default=0.0, repr=False)

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            BadFault: unknown words, or a number that is missing.
        """
        if self.kind not in (*BEFORE, *BODY):
            raise BadFault(f"kind must be one of {', '.join((*BEFORE, *BODY))}, not {self.kind!r}")
        if self.place not in ("*", *PLACES):
            raise BadFault(f"place must be one of {', '.join(PLACES)}, not {self.place!r}")
        if self.kind == "slow" and self.rate <= 0:
            raise BadFault("slow needs a rate in bytes per second")
        if self.kind in ("silent", "hang", "delay") and self.seconds <= 0:
            raise BadFault(f"{self.kind} needs seconds")

    def left(self) -> float:
        """Seconds until the quota of a rate limit begins anew: from its first refusal on."""
        if not self._begun:
            self._begun = time.monotonic()
        return max(0.0, self._begun + self.seconds - time.monotonic())

    def _over(self) -> bool:
        return self.kind == "rate_limit" and self._begun > 0 and self.seconds > 0 and not self.left()

    def matches(self, place: str, method: str, model: str, file: str) -> bool:
        return (
            self.place in ("*", place)
            and self.method in ("*", method)
            and fnmatch.fnmatchcase(model, self.model)
            and fnmatch.fnmatchcase(file, self.file)
            and (self.times is None or self.hits < self.times)
            and not self._over()
        )

    def public(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if not key.startswith("_")}


class Faults:
    """The rules in force; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, document: dict[str, Any]) -> Fault:
        """A new rule.

        Raises:
            BadFault: it cannot be.
        """
        known = {each.name for each in fields(Fault)} - {"id", "hits", "_next", "_begun"}
        unknown = set(document) - known
        if unknown or "kind" not in document:
            raise BadFault(f"unknown: {', '.join(sorted(unknown))}" if unknown else "kind is missing")
        fault = Fault(**document)
        fault.check()
        with self._lock:
            fault.id = next(self._ids)
            self._rules.append(fault)
        return fault

    def clear(self, number: int | None = None) -> None:
        """Take one rule away, or all."""
        with self._lock:
            self._rules = [rule for rule in self._rules if number is not None and rule.id != number]

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [rule.public() for rule in self._rules]

    def take(self, kinds: tuple[str, ...], place: str, method: str, model: str, file: str) -> list[Fault]:
        """The rules of these kinds that match, each counted."""
        with self._lock:
            found = [r for r in self._rules if r.kind in kinds and r.matches(place, method, model, file)]
            for rule in found:
                rule.hits += 1
            return found

    def take_body(self, place: str, model: str, file: str, start: int, end: int) -> list[Fault]:
        """The rules that touch the bytes `start` to `end` of this file, each counted."""
        with self._lock:
            found = [
                rule
                for rule in self._rules
                if rule.kind in BODY
                and rule.matches(place, "GET", model, file)
                and (rule.after < end - start)
                and (rule.kind != "corrupt" or start <= rule.at < end)
            ]
            for rule in found:
                rule.hits += 1
            return found

    def turn(self, fault: Fault, sent: int) -> float:
        """Seconds to wait after `sent` bytes so that all connections together keep to the rate."""
        with self._lock:
            now = time.monotonic()
            fault._next = max(fault._next, now) + sent / fault.rate
            return fault._next - now
