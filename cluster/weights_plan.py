"""The model's files: what there is to have, and which node gets what from whom. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ModelFile:
    """One file of a revision. `path` in the repository, `size` in bytes.

    `digest` is what the Hub calls it, and the name of its blob in the cache: the content's SHA-256
    (64 hex digits) where `lfs`, else git's blob id (40 hex digits: SHA-1 over "blob SIZE\\0" and the content).
    """

    path: str
    size: int
    digest: str
    lfs: bool


@dataclass(frozen=True)
class ModelFiles:
    """Every file of `model` that the engine needs, at one Hub commit (40 hex digits).

    `endpoint` is the Hub's address, without a slash at its end ("" when it was not asked).
    """

    model: str
    commit: str
    endpoint: str
    files: tuple[ModelFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def as_props(self) -> dict[str, Any]:
        """Plain data for a resource's inputs."""
        return {**asdict(self), "files": [asdict(file) for file in self.files]}

    @staticmethod
    def from_props(props: Mapping[str, Any]) -> ModelFiles:
        """The inverse of `as_props`; Pulumi hands numbers back as floats."""
        files = tuple(
            ModelFile(one["path"], int(one["size"]), one["digest"], bool(one["lfs"]))
            for one in props["files"]
        )
        return ModelFiles(props["model"], props["commit"], props["endpoint"], files)
