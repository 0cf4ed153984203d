"""Releases of TensorRT-LLM and their order, and the numbers of other versions."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A final release comes after all of its candidates.
_FINAL = 1_000_000
_FORM = re.compile(
    r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:rc(\d{1,4}))?(?:\.post(\d{1,4}))?(?:\+[\w.]+)?", re.A
)


@dataclass(frozen=True, order=True)
class Release:
    """A release; the order is 1.3.0rc5 < 1.3.0rc5.post1 < 1.3.0rc6 < 1.3.0 < 1.3.0.post1 < 1.3.1rc0."""

    major: int
    minor: int
    patch: int
    candidate: int = _FINAL
    post: int = 0

    @property
    def base(self) -> Release:
        """Without .postN, which fixes something in the same release."""
        return Release(self.major, self.minor, self.patch, self.candidate)

    def __str__(self) -> str:
        candidate = "" if self.candidate == _FINAL else f"rc{self.candidate}"
        post = f".post{self.post}" if self.post else ""
        return f"{self.major}.{self.minor}.{self.patch}{candidate}{post}"


def parse(text: str) -> Release | None:
    """The release that `text` names, as a tag or TRT_LLM_VERSION does; None for anything else."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        return None
    major, minor, patch, candidate, post = found.groups()
    return Release(
        int(major), int(minor), int(patch), int(candidate) if candidate else _FINAL, int(post or 0)
    )


def release(text: str) -> Release:
    """Likewise, for our own data. Raises ValueError for anything else."""
    found = parse(text)
    if found is None:
        raise ValueError(f"not a release of TensorRT-LLM: {text!r}")
    return found


def numbers(version: str) -> tuple[int, ...]:
    """ "3.12.3" as (3, 12, 3); () for what is no version."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdecimal() for part in parts) else ()
