"""Shapes of the catalog's models as they are published, for an estimate without the Hub and without files.

configs/ holds the dimensions of each config.json on the Hub (no more than an estimate needs); the tensors
follow from them by layouts.py. What the Hub or a node's files say wins over this.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from cluster import fit
from cluster.model_config import shape
from cluster.published import layouts

#: Catalog id -> the file in configs/. NVIDIA's FP4 checkpoints have the dimensions of the original.
_CONFIGS = {
    "nvidia/Qwen3-235B-A22B-FP4": "Qwen3-235B-A22B",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "openai/gpt-oss-20b": "gpt-oss-20b",
    "Qwen/Qwen2.5-7B-Instruct": "Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct": "Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct": "Qwen2.5-32B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct": "Qwen2.5-72B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3": "Mistral-7B-Instruct-v0.3",
    "mistralai/Mistral-Nemo-Instruct-2407": "Mistral-Nemo-Instruct-2407",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "Mixtral-8x7B-Instruct-v0.1",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct": "Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct": "Llama-3.1-70B-Instruct",
    "microsoft/phi-4": "phi-4",
    "google/gemma-2-27b-it": "gemma-2-27b-it",
    "nvidia/Qwen3-8B-FP4": "Qwen3-8B",
    "nvidia/Qwen3-14B-FP4": "Qwen3-14B",
    "nvidia/Qwen3-32B-FP4": "Qwen3-32B",
    "nvidia/Qwen3-30B-A3B-FP4": "Qwen3-30B-A3B",
    "nvidia/Llama-3.1-8B-Instruct-FP4": "Llama-3.1-8B-Instruct",
    "nvidia/Llama-3.3-70B-Instruct-FP4": "Llama-3.1-70B-Instruct",
}
#: How ModelOpt marks its checkpoints.
_NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4"}


@cache
def config(name: str) -> dict[str, Any]:
    """configs/NAME.json."""
    text = resources.files(__name__).joinpath("configs", f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def model(model_id: str) -> fit.Model | None:
    """Shape and tensors of a model of the catalog; None for any other, and where the layout is not known."""
    name = _CONFIGS.get(model_id)
    if name is None:
        return None
    found = config(name)
    if model_id.endswith("-FP4"):
        found = {**found, "quantization_config": _NVFP4}
    if found["model_type"] == "gemma2":
        # Its config.json leaves it out: the class's own default.
        found = {**found, "tie_word_embeddings": True}
    return fit.Model(shape(found), layouts.sizes(found))
