"""What requests leave in memory: keys and values per token, and the states of recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cluster.fit.constants import BLOCK
from cluster.model_config import Layer, Shape


def request_bytes(shape: Shape, tokens: int, tensor: int, pipeline: int) -> int:
    """Bytes that one request of `tokens` tokens holds on the fullest rank.

    Keys and values are split by head and at least one head is kept; latent attention is whole on every
    tensor-parallel rank (the engine's own formula: kv_lora_rank + qk_rope_head_dim numbers, once).
    """
    blocks = -(-tokens // BLOCK) * BLOCK
    run = -(-len(shape.layers) // pipeline)
    stages = [shape.layers[start : start + run] for start in range(0, len(shape.layers), run)]
    return max((_stage_bytes(shape, stage, blocks, tensor) for stage in stages), default=0)


def token_bytes(shape: Shape, tensor: int = 1) -> int:
    """Bytes a token adds on each of `tensor` ranks while no window is full."""
    whole = sum(_layer_token_bytes(shape, layer, tensor) for layer in shape.layers)
    return whole + math.ceil(
        sum(
            layer.numbers * shape.kv_bytes / layer.ratio
            for layer in shape.layers
            if layer.kind == "compressed"
        )
    )


def _stage_bytes(shape: Shape, layers: Iterable[Layer], tokens: int, tensor: int) -> int:
    total = 0
    for layer in layers:
        held = tokens if layer.window is None else min(tokens, layer.window)
        total += held * _layer_token_bytes(shape, layer, tensor) + -(-layer.state_bytes // tensor)
        if layer.kind == "compressed":
            total += -(-tokens // layer.ratio) * layer.numbers * shape.kv_bytes
    return total


def _layer_token_bytes(shape: Shape, layer: Layer, tensor: int) -> int:
    if layer.kind != "attention":
        return 0
    if shape.latent is not None:
        return shape.latent * shape.kv_bytes
    return 2 * max(1, -(-layer.kv_heads // tensor)) * shape.head_dim * shape.kv_bytes
