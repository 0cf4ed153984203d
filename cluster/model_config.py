"""The shape of a model, read from its config.json: what a token and a request cost in the cache.

Key names are those of the transformers library; each architecture writes them a little differently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["attention", "compressed", "state", "none"]


@dataclass(frozen=True)
class Layer:
    """What one layer keeps. `attention`: keys and values of every token, of the last `window` ones when
    that is not None. `compressed`: `numbers` numbers for every `ratio` tokens, whole on every rank, and
    `state_bytes`. `state`: `state_bytes` a request, however long it is. `none`: nothing.
    """

    kind: Kind = "attention"
    kv_heads: int = 0
    window: int | None = None
    state_bytes: int = 0
    numbers: int = 0
    ratio: int = 1


@dataclass(frozen=True)
class Shape:
    """A model's dimensions (counts, not bytes, unless said). `latent`: for multi-head latent attention,
    the numbers a token leaves in each layer (kv_lora_rank + qk_rope_head_dim, and the key of a sparse
    attention's indexer); None for keys and values.
    """

    architecture: str
    layers: tuple[Layer, ...]
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int | None
    vocabulary: int
    max_positions: int
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    quantisation: str = ""
    """As the checkpoint says it: mxfp4, fp8, NVFP4, …; "" for none."""
    kv_bytes: int = 2
    """Bytes of one number in the cache: 2, or 1 where the checkpoint asks for FP8."""

    def without_windows(self) -> Shape:
        """As the engine allocates: every attention layer for the whole length."""
        return replace(self, layers=tuple(replace(layer, window=None) for layer in self.layers))


class UnknownShape(ValueError):
    """config.json lacks what an estimate needs; the text says what."""


def shape(config: Mapping[str, Any], quantisation: Mapping[str, Any] | None = None) -> Shape:
    """The shape from config.json and, where there is one, ModelOpt's hf_quant_config.json.

    Raises UnknownShape when layers, heads or sizes are not told.
    """
    text = _language_model(config)
    heads = _int(text, "num_attention_heads", "n_head")
    hidden = _int(text, "hidden_size", "n_embd")
    kv_heads = int(_first(text, "num_key_value_heads") or heads)
    head_dim = int(_first(text, "head_dim", "attention_head_dim") or hidden // heads)
    latent = None
    if _first(text, "kv_lora_rank") is not None:
        latent = int(text["kv_lora_rank"]) + int(text.get("qk_rope_head_dim", 0)) + _indexer(text)
    intermediate = int(_first(text, "intermediate_size", "ffn_hidden_size", "n_inner") or 4 * hidden)
    method, kv_bytes = _quantised(config, quantisation)
    return Shape(
        architecture=architecture(config),
        layers=_layers(text, heads, kv_heads, head_dim, kv_bytes),
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        latent=latent,
        vocabulary=_int(text, "vocab_size"),
        max_positions=_positions(text),
        experts=int(_first(text, "num_local_experts", "num_experts", "n_routed_experts") or 0),
        experts_per_token=int(_first(text, "num_experts_per_tok", "experts_per_token") or 0),
        expert_intermediate=int(_first(text, "moe_intermediate_size") or intermediate),
        quantisation=method,
        kv_bytes=kv_bytes,
    )


#: Of a model: the largest have under 200; a listing of more would fill the memory.
MOST_LAYERS = 10_000
#: What stands for an architecture that is not named.
_BY_TYPE = {"gpt_oss": "GptOssForCausalLM"}


def architecture(config: Mapping[str, Any]) -> str:
    """The first that config.json names, else by its model_type; "" where neither is known."""
    named = config.get("architectures")
    if isinstance(named, list) and named:
        return str(named[0])
    return _BY_TYPE.get(str(config.get("model_type")), "")


def architecture_of(text: str) -> str:
    """The same from config.json's text; "" where it cannot be read."""
    try:
        config = json.loads(text or "{}")
    except json.JSONDecodeError:
        return ""
    return architecture(config) if isinstance(config, dict) else ""


#: Kinds of RoPE scaling whose max_position_embeddings is the scaled length already.
_SCALED = ("su", "longrope", "llama3", "yarn", "default")


def _positions(text: Mapping[str, Any]) -> int:
    """The longest context as the engine infers it (its `_infer_max_seq_len_from_config`); 0: not told."""
    positions = int(_first(text, "max_position_embeddings", "max_sequence_length", "n_positions") or 0)
    scaling = text.get("rope_scaling")
    if not isinstance(scaling, Mapping) or _first(scaling, "type", "rope_type") in _SCALED:
        return positions
    factor = scaling.get("factor")
    return math.ceil(positions * factor) if isinstance(factor, int | float) and factor >= 1 else positions


#: What the published config.json of Gemma 3 leaves to its class in the transformers library.
_GEMMA_3 = {
    "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "max_position_embeddings": 131072,
}  # fmt: skip


def _language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Models that also see keep their language half under a key of its own."""
    for key in ("text_config", "language_config", "llm_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping) and "hidden_size" in inner:
            return {**_GEMMA_3, **inner} if inner.get("model_type") == "gemma3_text" else inner
    return config


def _indexer(text: Mapping[str, Any]) -> int:
    """Numbers of the indexer's key of a token: index_head_dim in FP8, and four bytes of scale for every 128.
    The engine counts them like the latent's numbers when it sizes its cache.
    """
    size = int(text.get("index_head_dim") or 0)
    return size + 4 * (size // 128)


def _layers(
    text: Mapping[str, Any], heads: int, kv_heads: int, head_dim: int, kv_bytes: int
) -> tuple[Layer, ...]:
    if pattern := text.get("hybrid_override_pattern"):  # Nemotron-H
        return tuple(_nemotron_h(letter, text, kv_heads) for letter in str(pattern) if letter != "|")
    if blocks := text.get("block_configs"):  # Nemotron-NAS
        return tuple(_nas(block, heads) for block in blocks)
    count = _int(text, "num_hidden_layers", "n_layer")
    if count > MOST_LAYERS:
        raise UnknownShape(f"config.json says num_hidden_layers {str(count)[:20]}, and no model has so many")
    if ratios := text.get("compress_ratios"):  # DeepSeek-V4; entries beyond the layers are its draft's
        return tuple(_compressed(int(ratio), text, head_dim, kv_bytes) for ratio in ratios[:count])
    if types := text.get("layer_types") or text.get("layers_block_type"):
        return tuple(_typed(str(kind), text, kv_heads) for kind in types)
    whole = _whole_attention(text, count)
    return tuple(
        Layer("attention", kv_heads, _window(text, index))
        if whole is None or index in whole
        else Layer("state", state_bytes=_recurrent_state(text))
        for index in range(count)
    )


def _whole_attention(text: Mapping[str, Any], count: int) -> set[int] | None:
    """The layers with attention of a hybrid that gives a rule instead of layer_types; None for all of them.

    The other layers are recurrent. The rules are those of the transformers library's configurations.
    """
    if indices := text.get("attn_layer_indices") or text.get("full_attn_idxs"):  # Bamba, LFM2
        return {int(index) for index in indices}
    if kinds := text.get("attn_type_list"):  # MiniMax: 1 for attention, 0 for lightning attention
        return {index for index, kind in enumerate(kinds) if kind == 1}
    linear = text.get("linear_attn_config")  # Kimi Linear, which counts from 1
    if isinstance(linear, Mapping) and linear.get("full_attn_layers"):
        return {int(number) - 1 for number in linear["full_attn_layers"]}
    if period := text.get("attn_layer_period"):  # Jamba
        offset = int(text.get("attn_layer_offset") or 0)
        return {index for index in range(count) if index % int(period) == offset}
    interval = text.get("full_attention_interval")
    if interval is None and str(text.get("model_type", "")).startswith(("qwen3_next", "qwen3_5")):
        interval = _QWEN_INTERVAL
    if interval:  # Qwen3-Next: every so many layers, the last of each group
        return {index for index in range(count) if (index + 1) % int(interval) == 0}
    return None


def _recurrent_state(text: Mapping[str, Any]) -> int:
    """Bytes a request leaves in a recurrent layer: a Mamba one's, or a gated delta net's."""
    return _mamba_state(text) if _first(text, "mamba_num_heads", "mamba_n_heads") else _delta_state(text)


def _compressed(ratio: int, text: Mapping[str, Any], head_dim: int, kv_bytes: int) -> Layer:
    """A layer of DeepSeek-V4: one latent vector of `head_dim` numbers, which is key and value, for every
    `ratio` tokens and for each of the last `sliding_window` ones; ratio 0 has the window alone. The sparse
    layers (ratio 4) also keep a key of the indexer for every entry.
    """
    window = int(text.get("sliding_window") or 0) * head_dim * kv_bytes
    if ratio < 1:
        return Layer("state", state_bytes=window)
    indexer = int(text.get("index_head_dim") or 0) if ratio <= _SPARSE_RATIO else 0
    return Layer("compressed", state_bytes=window, numbers=head_dim + indexer, ratio=ratio)


def _typed(kind: str, text: Mapping[str, Any], kv_heads: int) -> Layer:
    if "sliding" in kind or "chunked" in kind:
        window = _first(text, "sliding_window", "attention_chunk_size")
        return Layer("attention", kv_heads, int(window) if window else None)
    if "attention" in kind and "linear" not in kind:
        return Layer("attention", kv_heads)
    if "linear" in kind:
        return Layer("state", state_bytes=_delta_state(text))
    if "mamba" in kind:
        return Layer("state", state_bytes=_mamba_state(text))
    return Layer("none")


def _window(text: Mapping[str, Any], index: int) -> int | None:
    """The sliding window of layer `index`, for models that give a rule instead of a list."""
    window = text.get("sliding_window")
    if not window or text.get("use_sliding_window") is False:
        return None
    model = str(text.get("model_type", ""))
    if model == "gemma2":  # every other layer, the first one slides
        return int(window) if index % 2 == 0 else None
    if pattern := text.get("sliding_window_pattern") or (6 if model.startswith("gemma3") else 0):
        return None if (index + 1) % int(pattern) == 0 else int(window)
    if index < int(text.get("max_window_layers") or 0) and "use_sliding_window" in text:
        return None  # Qwen2: the layers from max_window_layers on
    return int(window)


def _nemotron_h(letter: str, text: Mapping[str, Any], kv_heads: int) -> Layer:
    if letter == "*":
        return Layer("attention", kv_heads)
    if letter == "M":
        return Layer("state", state_bytes=_mamba_state(text))
    return Layer("none")  # `-` a dense MLP, `E` experts


def _nas(block: Mapping[str, Any], heads: int) -> Layer:
    attention = block.get("attention") or {}
    group = attention.get("n_heads_in_group")
    if attention.get("no_op") or attention.get("replace_with_linear") or not group:
        return Layer("none")
    return Layer("attention", heads // int(group))


#: Qwen3-Next's own where config.json does not say it.
_QWEN_INTERVAL = 4
#: DeepSeek-V4's sparse layers compress 4 tokens into one, its heavily compressed ones 128.
_SPARSE_RATIO = 4
#: The engine's default for NVIDIA's hybrid models is a float32 state (mamba_ssm_cache_dtype); the few
#: numbers of the convolution are kept at the same width here, which overstates them by a little.
_STATE_NUMBER = 4


def _mamba_state(text: Mapping[str, Any]) -> int:
    """Bytes a request leaves in a Mamba-2 layer: the state and the convolution's last inputs."""
    heads = int(_first(text, "mamba_num_heads", "mamba_n_heads") or 0)
    width = int(_first(text, "mamba_head_dim", "mamba_d_head") or 0)
    groups = int(_first(text, "n_groups", "mamba_n_groups") or 1)
    size = int(_first(text, "ssm_state_size", "mamba_d_state") or 128)
    kernel = int(_first(text, "conv_kernel", "mamba_d_conv") or 4)
    inner = heads * width
    return _STATE_NUMBER * (inner * size + (kernel - 1) * (inner + 2 * groups * size))


def _delta_state(text: Mapping[str, Any]) -> int:
    """Bytes a request leaves in a gated delta-net layer (Qwen3-Next)."""
    key_heads, key = int(text.get("linear_num_key_heads", 0)), int(text.get("linear_key_head_dim", 0))
    heads, value = int(text.get("linear_num_value_heads", 0)), int(text.get("linear_value_head_dim", 0))
    kernel = int(text.get("linear_conv_kernel_dim", 4))
    return _STATE_NUMBER * (heads * key * value + (kernel - 1) * (2 * key_heads * key + heads * value))


def _quantised(config: Mapping[str, Any], modelopt: Mapping[str, Any] | None) -> tuple[str, int]:
    """How weights are packed, and the bytes of a number in the KV cache."""
    inside: Mapping[str, Any] = config.get("quantization_config") or {}
    outside: Mapping[str, Any] = (modelopt or {}).get("quantization") or {}
    algo = _first(outside, "quant_algo") or _first(inside, "quant_algo", "quant_method") or ""
    kv = str(_first(outside, "kv_cache_quant_algo") or _first(inside, "kv_cache_quant_algo") or "")
    scheme = inside.get("kv_cache_scheme") or {}
    eight = kv.upper() == "FP8" or (isinstance(scheme, Mapping) and scheme.get("num_bits") == 8)
    return str(algo), 1 if eight else 2


def _first(text: Mapping[str, Any], *names: str) -> Any:
    """The first of the keys that is there and not null."""
    return next((text[name] for name in names if text.get(name) is not None), None)


def _int(text: Mapping[str, Any], *names: str) -> int:
    value = _first(text, *names)
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        value = value[0]
    if not isinstance(value, int) or value < 1:
        raise UnknownShape(f"config.json does not say {names[0]}")
    return value
