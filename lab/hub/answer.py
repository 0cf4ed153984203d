"""What a request was, and what is sent back: plain data, without a socket."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lab.hub.content import Altered, Content, Given

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A request; `headers` with lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Without the query, still quoted: revisions may have a slash."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query's parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Whether a query's parameter is set to yes."""
        return self.first(name).lower() in ("1", "true")

    def words(self) -> list[str]:
        """The path's parts, unquoted."""
        return [unquote(word) for word in self.path.split("/")[1:]]


@dataclass
class Answer:
    """`body` from `start` to `end` is sent; a HEAD gets the headers alone."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Content | Altered = field(default_factory=lambda: Given(b""))
    start: int = 0
    end: int = -1
    model: str = ""  # whose file or description it is, for faults and the record
    file: str = ""

    def __post_init__(self) -> None:
        if self.end < 0:
            self.end = self.body.size

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return self.end - self.start


def as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A document as the whole answer."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, {**kind, **(headers or {})}, Given(json.dumps(document).encode()))


def ranged(request: Request, content: Content | Altered, headers: dict[str, str], etag: str) -> Answer:
    """The file, or the one range of it that was asked for: 200, 206 or 416.

    Several ranges at once, another unit, and an If-Range that does not match get the whole file.
    """
    size = content.size
    headers = {**headers, "Accept-Ranges": "bytes", "ETag": f'"{etag}"'}
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if not match or match[1] == match[2] == "" or (condition and condition.strip() != f'"{etag}"'):
        return Answer(200, headers, content)
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    else:
        start, end = max(size - int(match[2]), 0), size
    if start >= end:
        return Answer(416, {**headers, "Content-Range": f"bytes */{size}"})
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}, content, start, end)
