"""A model's files: configuration, weights, and what the lab shall do with it.

The weights are read for real, header and size of every shard, because each rank of the real
engine reads all shards from its own disk.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_SUPPORTED = {
    "DeepseekV3ForCausalLM", "Gemma3ForCausalLM", "GptOssForCausalLM", "LlamaForCausalLM",
    "Llama4ForConditionalGeneration", "MistralForCausalLM", "MixtralForCausalLM",
    "NemotronForCausalLM", "NemotronHForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM",
    "Qwen3ForCausalLM", "Qwen3MoeForCausalLM",
}  # fmt: skip


class SafetensorError(Exception):
    """A weight file that is cut off or not in the format (the library's error of that name)."""


@dataclass(frozen=True)
class Behaviour:
    """How the lab's engine shall behave with this model: its lab-engine.json."""

    load_seconds: float = 0.0
    compile_seconds: float = 0.3  # without caches: see kernels.py
    tokens_per_second: float = 200.0
    first_token_seconds: float = 0.02
    fail: str | None = None  # crash_at_load, out_of_memory, never_ready, or one of serve.faults


def behaviour(folder: Path) -> Behaviour:
    """The model's lab-engine.json; a model without one behaves well."""
    path = folder / "lab-engine.json"
    known = Behaviour.__dataclass_fields__
    given = json.loads(path.read_text()) if path.is_file() else {}
    return Behaviour(**{key: value for key, value in given.items() if key in known})


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json.

    Raises:
        ValueError: an architecture that the PyTorch backend does not know.
        OSError: no config.json.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    architecture = (config.get("architectures") or ["?"])[0]
    if architecture not in _SUPPORTED:
        raise ValueError(f"Unknown architecture for AutoModelForCausalLM: {architecture}")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The shards to load.

    Raises:
        RuntimeError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RuntimeError(f"No weight files found in {folder}.")
    return files


def read_shard(path: Path) -> list[str]:
    """The names of a shard's tensors, after its header and its size were checked.

    Raises:
        SafetensorError: in the words of the safetensors library.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise SafetensorError("Error while deserializing header: header too small")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
        except ValueError as error:
            raise SafetensorError("Error while deserializing header: invalid JSON") from error
    header.pop("__metadata__", None)
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        begin, stop = tensor["data_offsets"]
        elements = 1
        for extent in tensor["shape"]:
            elements *= extent
        if begin != end or stop - begin != elements * _DTYPE_BYTES.get(tensor["dtype"], 0):
            raise SafetensorError(f"Error while deserializing header: invalid offset for {name}")
        end = stop
    if 8 + length + end != size:
        raise SafetensorError("Error while deserializing header: incomplete metadata, file not fully covered")
    return list(header)


def load_weights(folder: Path) -> tuple[int, int]:
    """Read every shard; (number of shards, number of tensors).

    Raises:
        RuntimeError: no shards at all.
        SafetensorError: a shard is damaged.
        AssertionError: the index names tensors that no shard holds (a shard is missing).
    """
    files = weight_files(folder)
    found = {name for path in files for name in read_shard(path)}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = json.loads(index.read_text())["weight_map"]
        load_weights_fused_qkv_helper(set(wanted), found)
    return len(files), len(found)


def load_weights_fused_qkv_helper(wanted: set[str], found: set[str]) -> None:
    """Where the real engine notices absent tensors: a bare assertion in this function."""
    assert all(name in found for name in wanted)
