"""A docker client with containers that have logs, and may end while somebody follows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests


class Gone(requests.RequestException):
    """What docker-py raises for a container that is not there."""


class FakeDocker:
    """`add` puts a container there; `logs` answers as the Engine does, in chunks that split lines."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.at_end: dict[str, Any] = {}

    def add(self, id: str, created: float, lines: list[str], code: int | None = None, rank: int = 0) -> None:
        """`code`: how it ended; None: it runs."""
        self.there[id] = {"created": created, "lines": lines, "code": code, "rank": rank}

    def containers(self, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        rank = next(one.rpartition("=")[2] for one in filters["label"] if one.startswith("trtspark.rank"))
        return [
            {"Id": id, "State": "running" if one["code"] is None else "exited", "Created": one["created"]}
            for id, one in self.there.items()
            if str(one["rank"]) == rank
        ]

    def inspect_container(self, id: str) -> dict[str, Any]:
        if id not in self.there:
            raise Gone(id)
        code = self.there[id]["code"]
        return {"State": {"Running": code is None, "ExitCode": code or 0}}

    def logs(self, id: str, **asked: Any) -> Any:
        self.asked.append({"id": id, **asked})
        if id not in self.there:
            raise Gone(id)
        lines = self.there[id]["lines"]
        if asked.get("stream"):
            return self._stream(id, lines)
        tail = asked["tail"]
        return "\n".join(lines if tail == "all" else lines[-tail:]).encode() + b"\n"

    def _stream(self, id: str, lines: list[str]) -> Iterator[bytes]:
        whole = "".join(
            f"2026-11-25T00:56:{place:02d}.000000001Z {line}\n" for place, line in enumerate(lines)
        ).encode()
        for start in range(0, len(whole), 7):
            yield whole[start : start + 7]
        if id in self.at_end:
            self.at_end.pop(id)()
