"""The lab's models: on the nodes from the start, or to be had from the lab's Hub.

Every file is real in form (safetensors with true headers, a tokenizer that the `tokenizers`
library loads, configurations with the published dimensions) and small, unless a test wants size.
What the engine shall do with a model is in the model's own `lab-engine.json`.
"""

import base64
import functools
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.hub import configs, shards, tensors
from lab.hub.content import Altered, Content, Given, Hollow, Made, git_blob, sha256
from lab.words import VOCABULARY

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_LFS = (".safetensors", ".bin", ".pth")
"""Endings of the files that a repository's .gitattributes puts into LFS."""
_MIB = 1 << 20
CARD = "Its weights are pseudo-random numbers."


@dataclass(frozen=True, eq=False)
class Model:
    """One model of the lab, what the engine does with it, and what the Hub says of it."""

    name: str
    config: dict[str, Any]
    load_seconds: float = 0.0
    tokens_per_second: float = 200.0
    first_token_seconds: float = 0.02
    fail: str | None = None
    missing: frozenset[str] = field(default_factory=frozenset)  # files named but not there
    shards: int = 2
    size: int = 0  # bytes of weights, roughly; 0: as small as the number of layers allows
    hollow: bool = False  # listed at its true size; only the files' heads can be had
    gated: str = ""  # "manual" or "auto"
    private: bool = False
    altered: str = ""  # the file that differs from its checksum
    originals: str = ""  # a folder with the same weights in another form
    duplicates: bool = False  # the weights as pytorch_model.bin too
    code: tuple[str, ...] = ()  # remote code
    history: bool = False  # more revisions than main


MODELS = (
    Model("openai/gpt-oss-120b", configs.GPT_OSS_120B, tokens_per_second=60.0, originals="original"),
    Model("openai/gpt-oss-20b", configs.GPT_OSS_20B, tokens_per_second=120.0, originals="metal"),
    Model("Qwen/Qwen2.5-7B-Instruct", configs.QWEN2_5_7B),
    Model("lab/crash-at-load", configs.QWEN2_5_7B, fail="crash_at_load"),
    Model("lab/out-of-memory", configs.QWEN2_5_7B, fail="out_of_memory"),
    Model("lab/never-ready", configs.QWEN2_5_7B, fail="never_ready"),
    Model("lab/illegal-instruction", configs.QWEN2_5_7B, fail="illegal_instruction"),
    Model("lab/completions-500", configs.QWEN2_5_7B, fail="completions_500"),
    Model("lab/slow-load", configs.QWEN2_5_7B, load_seconds=30.0),
    Model(
        "lab/missing-shard",
        configs.QWEN2_5_7B,
        missing=frozenset({"model-00002-of-00002.safetensors"}),
    ),
)
"""In every node's cache from its first boot, and on the Hub."""
ON_THE_HUB = (
    Model("Qwen/Qwen2.5-14B-Instruct", configs.QWEN2_5_14B, size=24 * _MIB, shards=8, history=True),
    Model("nvidia/Qwen3-8B-FP4", configs.QWEN3_8B_FP4),
    Model("Qwen/Qwen3-30B-A3B-FP8", configs.QWEN3_30B_A3B_FP8),
    Model("mistralai/Mixtral-8x7B-Instruct-v0.1", configs.MIXTRAL_8X7B, duplicates=True),
    Model("meta-llama/Llama-3.1-8B-Instruct", configs.LLAMA_3_1_8B, gated="manual", originals="original"),
    Model("google/gemma-3-1b-it", configs.GEMMA_3_1B, gated="auto", shards=1),
    Model(
        "deepseek-ai/DeepSeek-V3",
        configs.DEEPSEEK_V3,
        code=("configuration_deepseek.py", "modeling_deepseek.py"),
    ),
    Model(
        "microsoft/Phi-3.5-mini-instruct",
        configs.PHI_3_5_MINI,
        code=("configuration_phi3.py", "modeling_phi3.py"),
    ),
    Model("lab/hundred-files", configs.QWEN2_5_7B, size=4 * _MIB, shards=100),
    Model("lab/wrong-checksum", configs.QWEN2_5_7B, altered="model-00002-of-00002.safetensors"),
    Model("lab/private", configs.QWEN2_5_7B, private=True),
    Model("lab/gated", configs.QWEN2_5_7B, gated="manual"),
    Model("Qwen/Qwen2.5-72B-Instruct", configs.QWEN2_5_72B, shards=37, hollow=True),
    Model("nvidia/Qwen3-235B-A22B-FP4", configs.QWEN3_235B_A22B_FP4, shards=28, hollow=True),
    Model("lab/gpt-oss-120b-true-size", configs.GPT_OSS_120B, shards=15, hollow=True),
)
"""To be had from the Hub only."""

_BULK = re.compile(r"lab/bulk-(\d{1,3})x(\d{1,5})M")


def find(name: str) -> Model | None:
    """The model of this id; any `lab/bulk-NxMM` exists, with N shards of M MiB each, about."""
    for model in (*MODELS, *ON_THE_HUB):
        if model.name == name:
            return model
    match = _BULK.fullmatch(name)
    if match and int(match[1]) > 0 and int(match[2]) > 0:
        count = int(match[1])
        return Model(name, configs.QWEN2_5_7B, size=count * int(match[2]) * _MIB, shards=count)
    return None


def write(hf_home: Path) -> None:
    """Write MODELS and gpt-oss's vocabularies below HF_HOME; what is there already is kept."""
    for model in MODELS:
        _write_model(hf_home / "hub" / f"models--{model.name.replace('/', '--')}", model)
    folder = hf_home / "tiktoken-encodings"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in encodings().items():
        _write_once(folder / name, content)


def in_lfs(name: str) -> bool:
    """Whether the Hub keeps this file in LFS: its ETag is the SHA-256 then, else git's blob id."""
    return name.endswith(_LFS)


def commit(model: Model, revision: str = "main") -> str:
    """The id of the revision: 40 hex digits that depend on all its files."""
    digest = hashlib.sha1(f"{model.name} {revision}".encode(), usedforsecurity=False)
    for name, content in sorted(files(model, revision).items()):
        digest.update(f"{name}\0{_true(content).identity}\n".encode())
    return digest.hexdigest()


def _true(content: Content | Altered) -> Content:
    return content.true if isinstance(content, Altered) else content


def _write_model(folder: Path, model: Model) -> None:
    revision = commit(model)
    snapshot = folder / "snapshots" / revision
    for place in (folder / "refs", folder / "blobs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for name, content in files(model).items():
        if "/" in name or name.endswith(".bin"):
            continue  # what an engine does not need was not fetched
        data = content.read(0, content.size)
        blob = sha256(_true(content)) if in_lfs(name) else git_blob(data)
        _write_once(folder / "blobs" / blob, data)
        link = snapshot / name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(f"../../blobs/{blob}")
    (folder / "refs" / "main").write_text(revision)


def _write_once(path: Path, content: bytes) -> None:
    if not path.is_file() or path.stat().st_size != len(content):
        path.write_bytes(content)


def _seed(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:6], "big")


def _weights(model: Model, revision: str) -> Mapping[str, Content | Altered]:
    """The shards and their index."""
    config = model.config if model.hollow else tensors.resized(model.config, model.size)
    first = 0 if model.config["model_type"] == "gpt_oss" else 1
    cut = shards.cut(tensors.of(config), model.shards, first)
    found: dict[str, Content | Altered] = {}
    for shard in cut:
        content: Content = (
            Hollow(shard.head, shard.size)
            if model.hollow
            else Made(shard.head, shard.size, _seed(model.name, revision, shard.name))
        )
        altered = shard.name == model.altered
        found[shard.name] = Altered(content, at=content.size // 2) if altered else content
    if len(cut) > 1:
        found["model.safetensors.index.json"] = Given(_json(shards.index(cut)))
    return found


@functools.lru_cache(maxsize=128)
def files(model: Model, revision: str = "main") -> Mapping[str, Content | Altered]:
    """The contents of the model's repository at a revision, by path."""
    steering = {
        "load_seconds": model.load_seconds,
        "tokens_per_second": model.tokens_per_second,
        "first_token_seconds": model.first_token_seconds,
        "fail": model.fail,
    }
    config = model.config
    weights = _weights(model, revision)
    size = sum(content.size for name, content in weights.items() if in_lfs(name))
    content: dict[str, Content | Altered] = {
        ".gitattributes": _text(*(f"*{end} filter=lfs diff=lfs merge=lfs -text" for end in _LFS)),
        "README.md": _text(f"# {model.name}", "", f"A model of the lab, revision {revision}.", CARD),
        "LICENSE": _text("The lab's own: no weights of anybody are in it."),
        "config.json": Given(_json(config)),
        "generation_config.json": Given(_json({"do_sample": True, "eos_token_id": config["eos_token_id"]})),
        "tokenizer.json": Given(_tokenizer()),
        "tokenizer_config.json": Given(
            _json(
                {
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "unk_token": "[UNK]",
                    "eos_token": "[EOS]",
                    "model_max_length": config["max_position_embeddings"],
                    "chat_template": CHAT_TEMPLATE,
                }
            )
        ),
        "special_tokens_map.json": Given(_json({"unk_token": "[UNK]", "eos_token": "[EOS]"})),
        "lab-engine.json": Given(_json(steering)),
        **weights,
    }
    quantisation = config.get("quantization_config", {})
    if quantisation.get("quant_method") == "modelopt":
        named = {key: quantisation[key] for key in ("quant_algo", "kv_cache_quant_algo", "group_size")}
        document = {"producer": {"name": "modelopt"}, "quantization": named}
        content["hf_quant_config.json"] = Given(_json(document))
    for name in model.code:
        content[name] = _text(f'"""Stands for the remote code of {model.name}."""')
    if model.duplicates:
        content |= {f"pytorch_model-{n:05d}-of-00002.bin": Made(b"PK\x03\x04", size // 2, n) for n in (1, 2)}
        content["pytorch_model.bin.index.json"] = Given(_json({"metadata": {}, "weight_map": {}}))
    content |= _originals(model, size)
    return {name: data for name, data in content.items() if name not in model.missing}


def _originals(model: Model, size: int) -> dict[str, Content | Altered]:
    """The weights once more, as gpt-oss has them in original/ and metal/, Llama in original/."""
    seed = _seed(model.name, model.originals)
    if model.originals == "metal":
        return {"metal/model.bin": Made(b"GPT-OSS v1.0\0", size, seed)}
    if model.originals != "original":
        return {}
    if model.config["model_type"] == "llama":
        return {
            "original/consolidated.00.pth": Made(b"PK\x03\x04", size, seed),
            "original/params.json": Given(_json({"dim": model.config["hidden_size"]})),
            "original/tokenizer.model": _text("stands for the original tokenizer"),
        }
    parts = shards.cut(tensors.of(tensors.resized(model.config, 0)), 2)
    return {
        **{f"original/{p.name}": Made(p.head, p.size, seed + n) for n, p in enumerate(parts)},
        "original/config.json": Given(_json({"num_hidden_layers": model.config["num_hidden_layers"]})),
        "original/model.safetensors.index.json": Given(_json(shards.index(parts))),
    }


def _text(*lines: str) -> Given:
    return Given(("\n".join(lines) + "\n").encode())


@functools.cache
def _tokenizer() -> bytes:
    """A word-level tokenizer in the `tokenizers` library's format."""
    specials = ["[UNK]", "[EOS]"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return _json(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": token, "special": True, **special} for i, token in enumerate(specials)
            ],
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {
                "type": "WordLevel",
                "vocab": {word: i for i, word in enumerate([*specials, *VOCABULARY])},
                "unk_token": "[UNK]",
            },
        }
    )


@functools.cache
def encodings() -> dict[str, bytes]:
    """Stand-ins for gpt-oss's two vocabularies: lines of a base64 token and its rank."""
    tokens = [bytes([i]) for i in range(256)]
    words = [f" {word}".encode() for word in VOCABULARY]
    listed = {"o200k_base.tiktoken": tokens + words, "cl100k_base.tiktoken": tokens + words[:256]}
    return {
        name: b"".join(b"%s %d\n" % (base64.b64encode(t), i) for i, t in enumerate(content))
        for name, content in listed.items()
    }


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
