"""Safetensors files: tensors cut into shards, their headers, and the index."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from lab.hub.tensors import Tensor, total


@dataclass(frozen=True)
class Shard:
    """One file: `head` is the length, the header and its padding; `size` is the whole file's."""

    name: str
    head: bytes
    size: int


def cut(tensors: list[Tensor], count: int, first: int = 1) -> list[Shard]:
    """The files: model.safetensors, or `count` shards numbered from `first` (gpt-oss counts from 0).

    The tensors stay in their order, as `save_pretrained` fills one shard after the other. `count`
    is at most the number of tensors.
    """
    if count == 1:
        return [_shard("model.safetensors", tensors)]
    goal = total(tensors) / count
    parts: list[list[Tensor]] = [[] for _ in range(count)]
    done, number = 0, 0
    for place, tensor in enumerate(tensors):
        full = done >= goal * (number + 1) or len(tensors) - place <= count - 1 - number
        if full and parts[number] and number < count - 1:
            number += 1
        parts[number].append(tensor)
        done += tensor.size
    last = count - 1 + first
    return [_shard(f"model-{n + first:05d}-of-{last:05d}.safetensors", part) for n, part in enumerate(parts)]


def index(shards: list[Shard]) -> dict[str, Any]:
    """model.safetensors.index.json."""
    names = {shard.name: _names(shard) for shard in shards}
    return {
        "metadata": {"total_size": sum(shard.size - len(shard.head) for shard in shards)},
        "weight_map": {tensor: name for name in names for tensor in names[name]},
    }


def _names(shard: Shard) -> list[str]:
    return [name for name in json.loads(shard.head[8:]) if name != "__metadata__"]


def _shard(name: str, tensors: list[Tensor]) -> Shard:
    """The format: 8 bytes little-endian header length, the JSON header (padded with blanks to a
    multiple of 8), then the data to which `data_offsets` refer.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.size
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    return Shard(name, head, len(head) + offset)
