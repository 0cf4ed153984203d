"""The tokenizer of the model that is asked: a file given, the head node's own, or an approximation."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shlex
from pathlib import Path

from cluster.errors import TrtSparkError
from remote.ssh import Shell
from trtspark.bench.prompts import ApproximateTokenizer, ModelTokenizer, Tokenizer
from trtspark.bench.results import TokenizerInfo

#: gpt-oss's is 28 MB; compressed a tenth.
FETCH_TIMEOUT_S = 120


def of_file(path: Path) -> tuple[Tokenizer, TokenizerInfo]:
    """From a tokenizer.json. Raises ConfigError."""
    found = ModelTokenizer(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return found, TokenizerInfo(exact=True, source=path.name, sha256=digest)


def approximate(why: str) -> tuple[Tokenizer, TokenizerInfo]:
    """Where there is none; `why` is part of what is said of it."""
    return ApproximateTokenizer(), TokenizerInfo(exact=False, source=f"approximated: {why}")


def of_node(shell: Shell, hf_cache: str, model: str, commit: str) -> tuple[Tokenizer, TokenizerInfo]:
    """The one in the node's Hugging Face cache, kept here by commit; approximated where there is none.

    Raises Unreachable when the node is.
    """
    kept = cache_folder() / f"{model.replace('/', '--')}@{commit}.json"
    if not kept.is_file():
        data = _fetch(shell, hf_cache, model, commit)
        if data is None:
            return approximate(f"the head's cache has no tokenizer.json of {model}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f".{kept.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(kept)
    try:
        tokenizer, info = of_file(kept)
    except TrtSparkError:
        kept.unlink(missing_ok=True)  # the next run may find a whole one
        return approximate(f"tokenizer.json of {model} cannot be read here")
    return tokenizer, info.model_copy(update={"source": f"{model}@{commit[:12]}, from the head's cache"})


def cache_folder() -> Path:
    """Where tokenizers are kept on the operator's machine."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "trtspark" / "tokenizers"


def _fetch(shell: Shell, hf_cache: str, model: str, commit: str) -> bytes | None:
    """The file, packed for the way; None when it is not there."""
    rest = f"/hub/models--{model.replace('/', '--')}/snapshots/{commit}/tokenizer.json"
    place = (
        f'"$HOME"{shlex.quote(hf_cache[1:] + rest)}'
        if hf_cache.startswith("~")
        else shlex.quote(hf_cache + rest)
    )
    found = shell.run(f"test -f {place} && gzip -c -- {place} | base64 -w0", timeout=FETCH_TIMEOUT_S)
    if found.code or not found.out.strip():
        return None
    try:
        # A login script may have said something before.
        return gzip.decompress(base64.b64decode(found.out.split()[-1], validate=True))
    except (ValueError, OSError, EOFError):
        return None
