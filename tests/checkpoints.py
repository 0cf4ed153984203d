"""Checkpoints without weights: the tensors a published model has, from its config.json's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.hub import tensors as layouts

CONFIGS = Path(__file__).parents[1] / "cluster" / "published" / "configs"


def config(name: str) -> dict[str, Any]:
    """The published dimensions of a model (cluster/published/configs/NAME.json)."""
    found: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return found


def tensors(config: dict[str, Any]) -> dict[str, int]:
    """Bytes by name, as the safetensors headers of a checkpoint in the transformers layout say them."""
    return {tensor.name: tensor.size for tensor in layouts.of(config)}


def nvfp4(config: dict[str, Any]) -> dict[str, Any]:
    """The same model as ModelOpt packs it."""
    return {**config, "quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}
