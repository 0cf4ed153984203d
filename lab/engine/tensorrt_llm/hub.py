"""From MODEL to a folder of files, as huggingface_hub does it when it may not download.

A directory is used as it is; anything else is taken for a Hub id and looked up in the cache below
HF_HOME. The stand-in never downloads: without HF_HUB_OFFLINE it fails like a machine that cannot
reach the Hub.
"""

import os
import re
from pathlib import Path
from typing import Any

from .version import transformers

_REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
LARGE_VOCABULARY = 100_000
_COMMIT = re.compile(r"[0-9a-f]{40}")


class LocalEntryNotFoundError(FileNotFoundError, ValueError):
    """Not in the cache and not to be had (the Hub client's error of that name)."""


class HFValidationError(ValueError):
    """Not a Hub id (the Hub client's error of that name)."""


def served_name(model: str) -> str:
    """The name under which a server offers MODEL: a directory's basename, else as given."""
    return Path(model).name if Path(model).is_dir() else model


def hub_id(model: str, folder: Path) -> str:
    """The model's id on the Hub, also when it was named by its snapshot's path; else as named."""
    match = re.search(r"models--([^/]+)/snapshots/", f"{folder}/")
    return match[1].replace("--", "/", 1) if match else model


def cache_folder() -> Path:
    """HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache/huggingface") / "hub"


def resolve(model: str, revision: str | None = None) -> Path:
    """The folder with MODEL's files.

    Raises:
        HFValidationError: neither a directory nor of the form name or org/name.
        LocalEntryNotFoundError: the cache does not hold that model or revision.
    """
    if Path(model).is_dir():
        return Path(model)
    if not _REPO_ID.fullmatch(model):
        raise HFValidationError(
            "Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
            f"'{model}'. Use `repo_type` argument if needed."
        )
    folder = cache_folder() / f"models--{model.replace('/', '--')}"
    wanted = revision or "main"
    commit = wanted if _COMMIT.fullmatch(wanted) else _reference(folder, wanted)
    snapshot = folder / "snapshots" / (commit or "")
    if commit and snapshot.is_dir():
        return snapshot
    if offline():
        raise LocalEntryNotFoundError(
            "Cannot find an appropriate cached snapshot folder for the specified revision on the "
            "local disk and outgoing traffic has been disabled. To enable repo look-ups and "
            "downloads online, pass 'local_files_only=False' as input."
        )
    raise LocalEntryNotFoundError(
        "An error happened while trying to locate the files on the Hub and we cannot find the "
        "appropriate snapshot folder for the specified revision on the local disk. Please check "
        "your internet connection and try again."
    )


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def asks_for_model_info(tokenizer: str, config: dict[str, Any]) -> bool:
    """Whether loading this tokenizer asks the Hub, and so fails offline though all files are there.

    transformers 4.57.3 wants to know of every large vocabulary whether it is Mistral's, unless the tokenizer
    is a local folder (transformers issue 44843).
    """
    large = int(config.get("vocab_size") or 0) > LARGE_VOCABULARY
    return transformers() == "4.57.3" and large and not Path(tokenizer).is_dir()


def _reference(folder: Path, name: str) -> str:
    path = folder / "refs" / name
    return path.read_text().strip() if path.is_file() else ""
