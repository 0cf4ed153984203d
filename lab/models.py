"""Small models in the layout of the Hugging Face cache, for the simulated engine.

Every file is real in form (safetensors with true headers, a tokenizer that the `tokenizers`
library loads, configurations with the published dimensions) and tiny in size. What the engine
shall do with a model is in the model's own `lab-engine.json`.
"""

import base64
import functools
import hashlib
import json
import random
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.words import VOCABULARY

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 2880,
    "num_experts_per_tok": 4,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
    "vocab_size": 201088,
    "quantization_config": {"quant_method": "mxfp4"},
    "eos_token_id": 200002,
}
"""Dimensions that both gpt-oss models share (their published config.json)."""
QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "vocab_size": 152064,
    "torch_dtype": "bfloat16",
    "eos_token_id": 151645,
}


@dataclass(frozen=True, eq=False)
class Model:
    """One model of the lab and what the engine does with it."""

    name: str
    config: dict[str, Any]
    load_seconds: float = 0.0
    tokens_per_second: float = 200.0
    first_token_seconds: float = 0.02
    fail: str | None = None
    missing: frozenset[str] = field(default_factory=frozenset)  # files named but not there


MODELS = (
    Model(
        "openai/gpt-oss-120b",
        {**GPT_OSS, "num_hidden_layers": 36, "num_local_experts": 128},
        tokens_per_second=60.0,
    ),
    Model(
        "openai/gpt-oss-20b",
        {**GPT_OSS, "num_hidden_layers": 24, "num_local_experts": 32},
        tokens_per_second=120.0,
    ),
    Model("Qwen/Qwen2.5-7B-Instruct", QWEN_7B),
    Model("lab/crash-at-load", QWEN_7B, fail="crash_at_load"),
    Model("lab/out-of-memory", QWEN_7B, fail="out_of_memory"),
    Model("lab/never-ready", QWEN_7B, fail="never_ready"),
    Model("lab/missing-shard", QWEN_7B, missing=frozenset({"model-00002-of-00002.safetensors"})),
)


def write(hf_home: Path) -> None:
    """Write all models and gpt-oss's vocabularies below HF_HOME; what is there already is kept."""
    for model in MODELS:
        _write_model(hf_home / "hub" / f"models--{model.name.replace('/', '--')}", model)
    folder = hf_home / "tiktoken-encodings"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in encodings().items():
        _write_once(folder / name, content)


def commit(model: Model) -> str:
    """The revision under which the model is stored: 40 hex digits that depend on all its files."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, content in sorted(files(model).items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


def _write_model(folder: Path, model: Model) -> None:
    revision = commit(model)
    snapshot = folder / "snapshots" / revision
    for place in (folder / "refs", folder / "blobs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for name, content in files(model).items():
        sha = hashlib.sha256(content).hexdigest()
        _write_once(folder / "blobs" / sha, content)
        link = snapshot / name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(f"../../blobs/{sha}")
    (folder / "refs" / "main").write_text(revision)


def _write_once(path: Path, content: bytes) -> None:
    if not path.is_file() or path.stat().st_size != len(content):
        path.write_bytes(content)


@functools.cache
def _shards(config: str) -> dict[str, bytes]:
    """Two safetensors files and their index for a model of this configuration (JSON text)."""
    layers = json.loads(config)["num_hidden_layers"]
    shapes = {
        "model.embed_tokens.weight": [256, 64],
        **{f"model.layers.{i}.self_attn.q_proj.weight": [16, 64] for i in range(layers)},
        "model.norm.weight": [64],
        "lm_head.weight": [256, 64],
    }
    names = sorted(shapes)
    half = len(names) // 2
    shards: dict[str, bytes] = {}
    index: dict[str, str] = {}
    total = 0
    for number, part in enumerate((names[:half], names[half:]), start=1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        shards[shard], size = _safetensors({name: shapes[name] for name in part}, seed=number)
        total += size
        index |= dict.fromkeys(part, shard)
    document = {"metadata": {"total_size": total}, "weight_map": index}
    return {**shards, "model.safetensors.index.json": _json(document)}


def _safetensors(shapes: dict[str, list[int]], seed: int) -> tuple[bytes, int]:
    """A safetensors file of BF16 tensors and the bytes of tensor data in it.

    The format: 8 bytes little-endian header length, the JSON header (padded with blanks to a
    multiple of 8), then the data to which `data_offsets` refer.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * functools.reduce(lambda a, b: a * b, shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + random.Random(seed).randbytes(offset), offset


@functools.cache
def files(model: Model) -> dict[str, bytes]:
    """The contents of the model's snapshot by file name."""
    steering = {
        "load_seconds": model.load_seconds,
        "tokens_per_second": model.tokens_per_second,
        "first_token_seconds": model.first_token_seconds,
        "fail": model.fail,
    }
    content = {
        "config.json": _json(model.config),
        "generation_config.json": _json({"do_sample": True, "eos_token_id": model.config["eos_token_id"]}),
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": _json(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "unk_token": "[UNK]",
                "eos_token": "[EOS]",
                "model_max_length": model.config["max_position_embeddings"],
                "chat_template": CHAT_TEMPLATE,
            }
        ),
        "lab-engine.json": _json(steering),
        **_shards(json.dumps(model.config)),
    }
    return {name: data for name, data in content.items() if name not in model.missing}


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
