"""The bytes of a checkpoint that one rank holds.

Sizes come from the safetensors headers (`data_offsets`), so packed formats (MXFP4, NVFP4, FP8 with their
scales) are counted as they are. How the engine's PyTorch backend spreads them (its model definitions):

- split over tensor-parallel ranks: attention and MLP projections, experts, the vocabulary's embedding and
  the output head, Mamba's projections; keys and values by head, so that a rank keeps at least one whole head;
- whole on each rank: norms, routers, the down-projections of latent attention, vision towers, and, where
  attention is latent (DeepSeek), the embedding;
- over pipeline-parallel ranks: layers in equal runs, the first ones one longer where they do not divide;
  the embedding on the first, the head and the last norm on the last rank.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from cluster.fit.constants import MXFP4_ALIGNMENT
from cluster.model_config import Shape

_EXPERT = re.compile(r"\.experts\.\d+\.")
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h|block)\.(\d+)\.")
_KEY_VALUE = re.compile(r"\.(?:k_proj|v_proj)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|embeddings?|wte|word_embeddings)\.")
_WHOLE = re.compile(
    r"norm|\.router\.|\.gate\.|\.q_a_proj\.|\.kv_a_proj|^(?:model\.)?(?:vision|visual|multi_modal|mm_)"
)


def collapse(tensors: Mapping[str, int]) -> dict[str, int]:
    """Bytes by name with all experts of a layer as one: 36,000 names of a checkpoint become 1,500."""
    merged: dict[str, int] = {}
    for name, size in tensors.items():
        short = _EXPERT.sub(".experts.*.", name)
        merged[short] = merged.get(short, 0) + size
    return merged


class _Place(NamedTuple):
    """What a tensor's name says of where its bytes go."""

    layer: int | None
    expert: bool
    whole: bool
    embedding: bool
    key_value: bool
    first: bool
    """Outside of the layers: on the first stage, else on the last."""


@lru_cache(maxsize=1 << 16)
def _place(name: str) -> _Place:
    layer = _LAYER.search(name)
    embedding = _EMBEDDING.search(name) is not None
    return _Place(
        layer=int(layer[1]) if layer else None,
        expert=".experts." in name,
        whole=_WHOLE.search(name) is not None,
        embedding=embedding,
        key_value=_KEY_VALUE.search(name) is not None,
        first=embedding or (_WHOLE.match(name) is not None and "norm" not in name),
    )


def per_rank(tensors: Mapping[str, int], shape: Shape, tensor: int, pipeline: int) -> int:
    """Bytes on the fullest rank. `tensors`: bytes by name, collapsed or not; `tensor`, `pipeline`: ranks."""
    stages = [0.0] * pipeline
    ends = _stage_ends(len(shape.layers), pipeline)
    expert = _expert_share(shape, tensor)
    for name, size in tensors.items():
        place = _place(name)
        stages[_stage(place, ends)] += size * (expert if place.expert else _share(place, shape, tensor))
    return math.ceil(max(stages))


def _share(place: _Place, shape: Shape, tensor: int) -> float:
    """The part of a tensor that one tensor-parallel rank holds; above 1/tensor with copies."""
    if place.whole or (shape.latent and place.embedding):
        return 1.0
    if place.key_value and shape.kv_heads < tensor:
        return 1 / shape.kv_heads
    return 1 / tensor


def _expert_share(shape: Shape, tensor: int) -> float:
    if shape.quantisation.lower() != "mxfp4":
        return 1 / tensor
    inside = shape.expert_intermediate / tensor
    return _padded(inside) / shape.expert_intermediate * _padded(shape.hidden) / shape.hidden


def _padded(count: float) -> int:
    return math.ceil(count / MXFP4_ALIGNMENT) * MXFP4_ALIGNMENT


def _stage_ends(layers: int, pipeline: int) -> list[int]:
    """The first layer after each stage."""
    short, longer = divmod(layers, pipeline)
    ends, end = [], 0
    for stage in range(pipeline):
        end += short + (stage < longer)
        ends.append(end)
    return ends


def _stage(place: _Place, ends: list[int]) -> int:
    if place.layer is not None:
        return min(bisect_right(ends, place.layer), len(ends) - 1)
    return 0 if place.first else len(ends) - 1
