"""OpenAI's vocabularies in the operator's own folder, for nodes without internet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import weights_plan
from cluster.errors import ConfigError
from remote import local_paths

if TYPE_CHECKING:
    from cluster.config import Settings


def own(folder: str, file: Mapping[str, Any]) -> bytes:
    """A file from the folder, checked against its pin before it travels. Raises ConfigError."""
    path = local_paths.expanded(folder) / Path(file["path"]).name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"tiktoken.folder: {path} cannot be read ({error.strerror}); put the file there, or take the key "
            "away to fetch it from tiktoken.url"
        ) from None
    if hashlib.sha256(content).hexdigest() != file["digest"]:
        raise ConfigError(f"tiktoken.folder: {path} does not have the pinned SHA-256 {file['digest'][:12]}…")
    return content


def problems(
    settings: Settings, architecture: str, caches: Sequence[Mapping[str, Any]]
) -> Iterator[ConfigError]:
    """What is wrong with the folder where `up` would have to send from it: no node has the files yet."""
    folder = settings.tiktoken.folder
    if not folder or not (settings.running and settings.download_weights):
        return
    if any(one["tiktoken"] for one in caches):
        return
    for file in weights_plan.vocabularies(settings, architecture):
        try:
            own(folder, file)
        except ConfigError as error:
            yield error
