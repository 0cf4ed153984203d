"""A repository of the lab's Hub: its revisions, their files, and who may see it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab import models
from lab.hub.content import Altered, Content, git_blob, sha256
from lab.models import Model

_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


@dataclass(frozen=True)
class File:
    """One file of a revision."""

    path: str
    content: Content | Altered
    lfs: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.size

    @functools.cached_property
    def sha256(self) -> str:
        """What the Hub says the file's SHA-256 is."""
        return sha256(self.content.true if isinstance(self.content, Altered) else self.content)

    @functools.cached_property
    def pointer(self) -> bytes:
        """What git holds of a file in LFS."""
        return _POINTER.format(oid=self.sha256, size=self.size).encode()

    @functools.cached_property
    def blob(self) -> str:
        """Git's id of the file, or of its pointer."""
        return git_blob(self.pointer if self.lfs else self.content.read(0, self.size))

    @property
    def etag(self) -> str:
        """Without its quotation marks."""
        return self.sha256 if self.lfs else self.blob


@dataclass(frozen=True)
class Revision:
    """One commit."""

    commit: str
    title: str
    date: str  # ISO 8601
    files: dict[str, File]


@dataclass
class Repository:
    """`gated` and `private` may change while the server runs."""

    model: Model
    gated: str  # "", "auto" or "manual"
    private: bool
    branches: dict[str, str]  # name -> commit
    tags: dict[str, str]
    revisions: dict[str, Revision] = field(default_factory=dict)  # commit -> Revision

    @property
    def id(self) -> str:
        return self.model.name

    def revision(self, name: str) -> Revision | None:
        """The commit of a branch, a tag, a full reference, or an id of 40 digits; else None."""
        short = name.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.revisions.get(self.branches.get(short) or self.tags.get(short) or name)


def of(model: Model) -> Repository:
    """The repository of a model: `main`, and where it has a history the tag `v1.0` on the commit
    before and the branch `next`.
    """
    found = Repository(model, model.gated, model.private, branches={}, tags={})
    history = [("v1.0", "First weights"), ("main", "New weights"), ("next", "What comes next")]
    for day, (name, title) in enumerate(history, start=1):
        if name != "main" and not model.history:
            continue
        commit = models.commit(model, name)
        files = {
            path: File(path, content, models.in_lfs(path))
            for path, content in sorted(models.files(model, name).items())
        }
        found.revisions[commit] = Revision(commit, title, f"2025-09-{day:02d}T12:00:00.000Z", files)
        (found.tags if name.startswith("v") else found.branches)[name] = commit
    return found


def parameters(files: Iterable[File]) -> dict[str, int]:
    """Elements by type of the safetensors files in the top folder, as the Hub shows them: a packed
    byte counts once.
    """
    counted: dict[str, int] = {}
    for file in files:
        if file.path.endswith(".safetensors") and "/" not in file.path:
            length = int.from_bytes(file.content.read(0, 8), "little")
            header = json.loads(file.content.read(8, length))
            header.pop("__metadata__", None)
            for tensor in header.values():
                elements = functools.reduce(lambda a, b: a * b, tensor["shape"], 1)
                counted[tensor["dtype"]] = counted.get(tensor["dtype"], 0) + elements
    return counted
