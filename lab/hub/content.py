"""What files are made of: given bytes, or pseudo-random data made on the fly, so that no disk is needed."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 16
"""Bytes of which every one begins with a tag of its own: data in the wrong place is noticed."""
_PATTERN_BLOCKS = 256
"""16 MiB before the pattern repeats: further than rsync's and zstd's usual windows look back."""
_TAG = struct.Struct("<QQ")
_PIECE = 4 << 20
_REMEMBER_FROM = 8 << 20
"""Bytes from which a checksum is worth a file in the cache."""


class NoBody(Exception):
    """Bytes were asked for that only a real Hub has."""


@dataclass(frozen=True)
class Given:
    """Bytes as they are."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def identity(self) -> str:
        """A text that differs wherever the bytes differ."""
        return hashlib.sha256(self.data).hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer at the end."""
        return self.data[offset : offset + length]


@dataclass(frozen=True)
class Made:
    """A head of given bytes, then pseudo-random data that depends on `seed` and the place only."""

    head: bytes
    size: int
    seed: int

    @property
    def identity(self) -> str:
        """A text that differs wherever the bytes differ."""
        return f"made-1:{hashlib.sha256(self.head).hexdigest()}:{self.size}:{self.seed}"

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer at the end."""
        end = min(offset + length, self.size)
        out = bytearray(self.head[offset:end])
        place = offset + len(out) - len(self.head)
        stop = end - len(self.head)
        pattern = _pattern()
        while place < stop:
            number, within = divmod(place, BLOCK)
            take = min(BLOCK - within, stop - place)
            start = ((number + self.seed * 37) % _PATTERN_BLOCKS) * BLOCK
            piece = pattern[start + within : start + within + take]
            if within < _TAG.size:
                tag = _TAG.pack(self.seed & (1 << 64) - 1, number)[within : within + take]
                out += tag
                piece = piece[len(tag) :]
            out += piece
            place += take
        return bytes(out)


@dataclass(frozen=True)
class Hollow:
    """A file at its true size of which only the head is here: to be listed and looked into, not fetched."""

    head: bytes
    size: int

    @property
    def identity(self) -> str:
        """A text that differs wherever the head or the size differ."""
        return f"hollow:{hashlib.sha256(self.head).hexdigest()}:{self.size}"

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the head, and zeros for as much behind it as a reader of headers takes along.

        Raises:
            NoBody: the range ends further than 1 MiB behind the head.
        """
        end = min(offset + length, self.size)
        if end > len(self.head) + (1 << 20):
            raise NoBody
        return self.head[offset:end].ljust(max(end - offset, 0), b"\0")


Content = Given | Made | Hollow


@dataclass(frozen=True)
class Altered:
    """Content whose bytes differ from what its checksum says: one bit, at `at`."""

    true: Content
    at: int

    @property
    def size(self) -> int:
        return self.true.size

    def read(self, offset: int, length: int) -> bytes:
        """As the true content's, but for the one bit."""
        data = bytearray(self.true.read(offset, length))
        if offset <= self.at < offset + len(data):
            data[self.at - offset] ^= 1
        return bytes(data)


@functools.cache
def _pattern() -> bytes:
    return random.Random(0).randbytes(BLOCK * _PATTERN_BLOCKS)


@functools.lru_cache(maxsize=4096)
def sha256(content: Content) -> str:
    """The content's SHA-256. A hollow file's is made up, as nobody can compare it with anything."""
    if isinstance(content, Given | Hollow):
        return (
            hashlib.sha256(content.identity.encode()).hexdigest()
            if isinstance(content, Hollow)
            else (content.identity)
        )
    name = hashlib.sha256(content.identity.encode()).hexdigest()
    record = _cache() / name
    if content.size >= _REMEMBER_FROM and record.is_file():
        return record.read_text()
    digest = hashlib.sha256()
    for offset in range(0, content.size, _PIECE):
        digest.update(content.read(offset, _PIECE))
    if content.size >= _REMEMBER_FROM:
        record.parent.mkdir(parents=True, exist_ok=True)
        draft = record.with_name(f"{name}.{uuid.uuid4().hex}")
        draft.write_text(digest.hexdigest())
        draft.rename(record)
    return digest.hexdigest()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "trtllm-dgx-spark" / "lab-hub"


def git_blob(data: bytes) -> str:
    """The id that git gives a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
