"""The tokenizer of the model that is asked: a file given, the head node's own, or an approximation."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
from pathlib import Path

from cluster.errors import TrtSparkError
from remote import node
from remote.node import hub_names
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
    if not hub_names.is_commit(commit):  # it becomes a part of a path, here and on the node
        return approximate(f"the commit of {model} is not known")
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
    """The file's content; None when it is not there."""
    args = {"tokenizer_file": {"hf_cache": hf_cache, "model": model, "commit": commit}}
    script = node.program(tokenizer_file="look")
    found = shell.run(node.command(args), stdin=script, timeout=FETCH_TIMEOUT_S)
    if found.code:
        return None
    try:
        packed = node.answer(found.out)["tokenizer_file"]["packed"]
        return gzip.decompress(base64.b64decode(packed, validate=True)) if packed else None
    except (ValueError, LookupError, TypeError, OSError, EOFError):
        return None
