"""Layers of an image: tar.gz files whose bytes depend on nothing but their content."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

EPOCH = 1767225600
"""The one modification time in every layer (2026-01-01 UTC), so that equal content is equal."""
GZIP_LEVEL = 1
"""Packing time matters once; the nodes' unpacking time does not depend on it."""


@dataclass(frozen=True)
class Layer:
    """One layer of an image: a tar.gz file and what a manifest says about it."""

    path: Path
    digest: str  # of the compressed file, "sha256:…"
    diff_id: str  # of the tar inside, "sha256:…"
    size: int  # bytes, compressed
    python_magic: str  # hex of the layer's Python's bytecode magic number, "" without a Python


Member = tuple[tarfile.TarInfo, Path | bytes | None]
"""An entry of a layer and its content: a file, bytes, or nothing."""


class _Hashing:
    """A writable file that also hashes what goes through it."""

    def __init__(self, target: object) -> None:
        self.sha = hashlib.sha256()
        self.size = 0
        self._write: Callable[[bytes], int] = target.write  # type: ignore[attr-defined]  # any file

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        self.size += len(data)
        return self._write(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha.hexdigest()}"


def pack(members: Iterator[Member], path: Path, python_magic: str = "") -> Layer:
    """Write a layer: the same members give the same bytes on every machine."""
    with path.open("wb") as file:
        packed = _Hashing(file)
        with gzip.GzipFile("", "wb", GZIP_LEVEL, packed, mtime=EPOCH) as zipped:
            plain = _Hashing(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]  # likewise
                seen: set[str] = set()
                for info, content in members:
                    if info.isdir() and info.name in seen:
                        continue  # Docker refuses a layer that names a path twice
                    seen.add(info.name)
                    info.mtime = EPOCH
                    if isinstance(content, Path):
                        with content.open("rb") as source:
                            tar.addfile(info, source)
                    elif isinstance(content, bytes):
                        info.size = len(content)
                        with io.BytesIO(content) as source:
                            tar.addfile(info, source)
                    else:
                        tar.addfile(info)
    return Layer(path, packed.digest, plain.digest, packed.size, python_magic)
