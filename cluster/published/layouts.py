"""The tensors of a checkpoint, from its config.json: names, types and shapes as they are published.

Layouts: the models' index files on the Hub. gpt-oss packs two MXFP4 values in a byte of `*_blocks`
with one scale byte for 32 values; ModelOpt's NVFP4 packs two in a byte of `weight` with an FP8 scale
for 16; the FP8 checkpoints of DeepSeek and Qwen have one F32 scale for a square of 128 by 128.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DTYPE_BYTES = {"U8": 1, "F8_E4M3": 1, "BF16": 2, "F32": 4}


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of data."""
        return DTYPE_BYTES[self.dtype] * math.prod(self.shape)


def of(config: dict[str, Any]) -> list[Tensor]:
    """All tensors of a model with this config.json, in the order of their names' layers."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    found = [Tensor("model.embed_tokens.weight", "BF16", (vocabulary, hidden))]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        found += [Tensor(prefix + t.name, t.dtype, t.shape) for t in _layer(config, layer)]
    found.append(Tensor("model.norm.weight", "BF16", (hidden,)))
    if not config.get("tie_word_embeddings"):
        found.append(Tensor("lm_head.weight", "BF16", (vocabulary, hidden)))
    return found


def sizes(config: dict[str, Any]) -> dict[str, int]:
    """Bytes by name, all experts of a layer as one: what `fit.collapse` makes of `of`, but fast.

    One layer of each kind is laid out, with one expert, whose tensors are counted as often as there are
    experts.
    """
    experts = (
        config.get("num_experts") or config.get("num_local_experts") or config.get("n_routed_experts") or 1
    )
    found = {tensor.name: tensor.size for tensor in of({**config, "num_hidden_layers": 0})}
    dense = int(config.get("first_k_dense_replace") or 0)
    kinds: dict[bool, list[tuple[str, int]]] = {}
    for layer in range(config["num_hidden_layers"]):
        kind = layer >= dense
        if kind not in kinds:
            kinds[kind] = _collapsed(config, layer, experts)
        for name, size in kinds[kind]:
            found[f"model.layers.{layer}.{name}"] = size
    return found


def _collapsed(config: dict[str, Any], layer: int, experts: int) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for tensor in _layer(config, layer, alike=True):
        name, times = tensor.name, 1
        if ".experts.0." in name:
            name, times = name.replace(".experts.0.", ".experts.*."), experts
        found[name] = times * tensor.size
    return list(found.items())


def total(tensors: list[Tensor]) -> int:
    """Bytes of data."""
    return sum(tensor.size for tensor in tensors)


def resized(config: dict[str, Any], target: int) -> dict[str, Any]:
    """The config with as many layers but narrower, so that its tensors have about `target` bytes or
    the few hundred kilobytes below which no model of that depth gets.
    """
    step = 1
    while total(of(_narrow(config, step + 1))) <= target:
        step += 1
    return _narrow(config, step)


def _narrow(config: dict[str, Any], step: int) -> dict[str, Any]:
    width = 32 * step
    narrow = {"hidden_size": width, "vocab_size": 256, "head_dim": 16, "num_attention_heads": 2 * step}
    limits = {
        "num_key_value_heads": 2, "intermediate_size": 2 * width, "moe_intermediate_size": width,
        "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
        "q_lora_rank": width, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16,
        "v_head_dim": 16,
    }  # fmt: skip
    for key, limit in limits.items():
        if config.get(key) is not None:
            narrow[key] = min(config[key], limit)
    return {**config, **narrow}


def _layer(config: dict[str, Any], number: int, alike: bool = False) -> Iterator[Tensor]:
    """`alike`: only the first of several experts."""
    hidden = config["hidden_size"]
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield Tensor(f"{name}.weight", "BF16", (hidden,))
    yield from _latent_attention(config) if "kv_lora_rank" in config else _attention(config)
    kind = config["model_type"]
    if kind == "gpt_oss":
        yield from _mxfp4_experts(config)
    elif kind == "mixtral":
        yield Tensor("block_sparse_moe.gate.weight", "BF16", (config["num_local_experts"], hidden))
        for expert in range(1 if alike else config["num_local_experts"]):
            prefix = f"block_sparse_moe.experts.{expert}."
            yield from _feed_forward(config, prefix, config["intermediate_size"], ("w1", "w3", "w2"))
    elif kind == "qwen3_moe":
        yield from _experts(config, config["num_experts"], alike)
    elif kind == "deepseek_v3" and number >= config["first_k_dense_replace"]:
        yield Tensor("mlp.gate.e_score_correction_bias", "F32", (config["n_routed_experts"],))
        shared = config["moe_intermediate_size"] * config["n_shared_experts"]
        yield from _feed_forward(config, "mlp.shared_experts.", shared)
        yield from _experts(config, config["n_routed_experts"], alike)
    elif kind == "phi3":
        yield Tensor("mlp.gate_up_proj.weight", "BF16", (2 * config["intermediate_size"], hidden))
        yield Tensor("mlp.down_proj.weight", "BF16", (hidden, config["intermediate_size"]))
    else:
        yield from _feed_forward(config, "mlp.", config["intermediate_size"])


def _attention(config: dict[str, Any]) -> Iterator[Tensor]:
    """Grouped-query attention."""
    hidden, kind = config["hidden_size"], config["model_type"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    if kind == "phi3":
        yield Tensor("self_attn.qkv_proj.weight", "BF16", (queries + 2 * keys, hidden))
        yield Tensor("self_attn.o_proj.weight", "BF16", (hidden, queries))
        return
    packed = {} if kind == "gpt_oss" else config
    for name, rows in (("q", queries), ("k", keys), ("v", keys)):
        yield from _linear(packed, f"self_attn.{name}_proj", rows, hidden)
        if kind in ("qwen2", "gpt_oss"):
            yield Tensor(f"self_attn.{name}_proj.bias", "BF16", (rows,))
    yield from _linear(packed, "self_attn.o_proj", hidden, queries)
    if kind == "gpt_oss":
        yield Tensor("self_attn.o_proj.bias", "BF16", (hidden,))
        yield Tensor("self_attn.sinks", "BF16", (config["num_attention_heads"],))
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield Tensor("self_attn.q_norm.weight", "BF16", (head,))
        yield Tensor("self_attn.k_norm.weight", "BF16", (head,))
    if kind == "gemma3_text":
        yield Tensor("pre_feedforward_layernorm.weight", "BF16", (hidden,))
        yield Tensor("post_feedforward_layernorm.weight", "BF16", (hidden,))


def _latent_attention(config: dict[str, Any]) -> Iterator[Tensor]:
    """Multi-head latent attention (DeepSeek)."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    rope, nope, rank = config["qk_rope_head_dim"], config["qk_nope_head_dim"], config["kv_lora_rank"]
    yield from _linear(config, "self_attn.q_a_proj", config["q_lora_rank"], hidden)
    yield Tensor("self_attn.q_a_layernorm.weight", "BF16", (config["q_lora_rank"],))
    yield from _linear(config, "self_attn.q_b_proj", heads * (nope + rope), config["q_lora_rank"])
    yield from _linear(config, "self_attn.kv_a_proj_with_mqa", rank + rope, hidden)
    yield Tensor("self_attn.kv_a_layernorm.weight", "BF16", (rank,))
    yield from _linear(config, "self_attn.kv_b_proj", heads * (nope + config["v_head_dim"]), rank)
    yield from _linear(config, "self_attn.o_proj", hidden, heads * config["v_head_dim"])


def _experts(config: dict[str, Any], count: int, alike: bool) -> Iterator[Tensor]:
    yield Tensor("mlp.gate.weight", "BF16", (count, config["hidden_size"]))
    for expert in range(1 if alike else count):
        yield from _feed_forward(config, f"mlp.experts.{expert}.", config["moe_intermediate_size"])


def _mxfp4_experts(config: dict[str, Any]) -> Iterator[Tensor]:
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    yield Tensor("mlp.router.weight", "BF16", (count, hidden))
    yield Tensor("mlp.router.bias", "BF16", (count,))
    for name, rows, columns in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
        yield Tensor(f"mlp.experts.{name}_blocks", "U8", (count, rows, columns // 32, 16))
        yield Tensor(f"mlp.experts.{name}_scales", "U8", (count, rows, columns // 32))
        yield Tensor(f"mlp.experts.{name}_bias", "BF16", (count, rows))


def _feed_forward(
    config: dict[str, Any],
    prefix: str,
    inner: int,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Iterator[Tensor]:
    hidden = config["hidden_size"]
    for name, rows, columns in zip(names, (inner, inner, hidden), (hidden, hidden, inner), strict=True):
        yield from _linear(config, prefix + name, rows, columns)


def _linear(config: dict[str, Any], name: str, rows: int, columns: int) -> Iterator[Tensor]:
    """A weight in the config's quantisation, with its scales."""
    quantisation = config.get("quantization_config", {})
    if quantisation.get("quant_method") == "fp8":
        yield Tensor(f"{name}.weight", "F8_E4M3", (rows, columns))
        yield Tensor(f"{name}.weight_scale_inv", "F32", (-(-rows // 128), -(-columns // 128)))
    elif quantisation.get("quant_algo") == "NVFP4":
        yield Tensor(f"{name}.weight", "U8", (rows, columns // 2))
        yield Tensor(f"{name}.weight_scale", "F8_E4M3", (rows, columns // 16))
        yield Tensor(f"{name}.weight_scale_2", "F32", ())
        yield Tensor(f"{name}.input_scale", "F32", ())
    else:
        yield Tensor(f"{name}.weight", "BF16", (rows, columns))
