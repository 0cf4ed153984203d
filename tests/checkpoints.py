"""Checkpoints without weights: the tensors a published model has, from its config.json's numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parent / "fixtures" / "configs"
BF16 = 2


def config(name: str) -> dict[str, Any]:
    """The published dimensions of a model (tests/fixtures/configs/NAME.json)."""
    found: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return found


def tensors(config: dict[str, Any]) -> dict[str, int]:
    """Bytes by name, as the safetensors headers of a checkpoint in the transformers layout say them."""
    hidden, layers, vocab = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
    found = {"model.embed_tokens.weight": vocab * hidden, "model.norm.weight": hidden}
    if not config.get("tie_word_embeddings", True):
        found["lm_head.weight"] = vocab * hidden
    for index in range(layers):
        layer = {**_attention(config), **_norms(config), **_mlp(config)}
        found |= {f"model.layers.{index}.{name}": numbers for name, numbers in layer.items()}
    sizes = {name: numbers * BF16 for name, numbers in found.items()}
    if config.get("quantization_config", {}).get("quant_method") == "mxfp4":
        sizes |= _mxfp4_experts(config)
    return sizes


def nvfp4(config: dict[str, Any]) -> dict[str, int]:
    """The same with every projection inside the layers in NVFP4: half a byte, and an FP8 scale for 16."""
    packed = {}
    for name, size in tensors(config).items():
        if "_proj." in name and name.endswith("weight"):
            packed[name] = size // 4
            packed[name + "_scale"] = size // 32
            packed[name + "_scale_2"] = 4
        else:
            packed[name] = size
    return packed


def _attention(config: dict[str, Any]) -> dict[str, int]:
    hidden, heads, kv = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim", hidden // heads)
    found = {
        "self_attn.q_proj.weight": hidden * heads * head,
        "self_attn.k_proj.weight": hidden * kv * head,
        "self_attn.v_proj.weight": hidden * kv * head,
        "self_attn.o_proj.weight": hidden * heads * head,
    }
    if config["model_type"] in ("qwen2", "gpt_oss"):
        found |= {"self_attn.q_proj.bias": heads * head}
        found |= {f"self_attn.{name}_proj.bias": kv * head for name in "kv"}
    if config["model_type"] == "gpt_oss":
        found |= {"self_attn.o_proj.bias": hidden, "self_attn.sinks": heads}
    if config["model_type"] == "qwen3_moe":
        found |= {"self_attn.q_norm.weight": head, "self_attn.k_norm.weight": head}
    return found


def _norms(config: dict[str, Any]) -> dict[str, int]:
    names = ["input_layernorm", "post_attention_layernorm"]
    if config["model_type"].startswith("gemma"):
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return {f"{name}.weight": config["hidden_size"] for name in names}


def _mlp(config: dict[str, Any]) -> dict[str, int]:
    hidden = config["hidden_size"]
    if config["model_type"] == "gpt_oss":
        experts = config["num_local_experts"]
        return {"mlp.router.weight": experts * hidden, "mlp.router.bias": experts}
    inside = config.get("moe_intermediate_size", config["intermediate_size"])
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    if not experts:
        return {f"mlp.{name}_proj.weight": hidden * inside for name in ("gate", "up", "down")}
    if config["model_type"] == "mixtral":
        block, names = "block_sparse_moe", ("w1", "w2", "w3")
    else:
        block, names = "mlp", ("gate_proj", "up_proj", "down_proj")
    found = {f"{block}.gate.weight": experts * hidden}
    for expert in range(experts):
        found |= {f"{block}.experts.{expert}.{name}.weight": hidden * inside for name in names}
    return found


def _mxfp4_experts(config: dict[str, Any]) -> dict[str, int]:
    """Blocks of 32 numbers in 16 bytes, a scale of one byte each, and biases in BF16, all experts in one."""
    hidden, experts, inside = (config[k] for k in ("hidden_size", "num_local_experts", "intermediate_size"))
    found = {}
    for index in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{index}.mlp.experts."
        for name, rows, columns in (("gate_up_proj", 2 * inside, hidden), ("down_proj", hidden, inside)):
            found[f"{prefix}{name}_blocks"] = experts * rows * math.ceil(columns / 32) * 16
            found[f"{prefix}{name}_scales"] = experts * rows * math.ceil(columns / 32)
            found[f"{prefix}{name}_bias"] = experts * rows * BF16
    return found
