"""Shapes of real architectures, by their published config.json."""

from __future__ import annotations

import pytest

from cluster.model_config import UnknownShape, shape
from tests.checkpoints import config


def attention(name: str) -> list[int | None]:
    """The window of every layer that keeps keys and values."""
    return [layer.window for layer in shape(config(name)).layers if layer.kind == "attention"]


@pytest.mark.parametrize(
    ("name", "layers", "kv_heads", "head_dim"),
    [
        ("gpt-oss-120b", 36, 8, 64),
        ("gpt-oss-20b", 24, 8, 64),
        ("Llama-3.1-8B-Instruct", 32, 8, 128),
        ("Llama-3.1-70B-Instruct", 80, 8, 128),
        ("Qwen2.5-7B-Instruct", 28, 4, 128),
        ("Qwen3-235B-A22B", 94, 4, 128),
        ("Mixtral-8x7B-Instruct-v0.1", 32, 8, 128),
        ("Mistral-Nemo-Instruct-2407", 40, 8, 128),
        ("phi-4", 40, 10, 128),
        ("gemma-2-27b-it", 46, 16, 128),
        ("gemma-3-27b-it", 62, 16, 128),
    ],
)
def test_grouped_query_attention(name, layers, kv_heads, head_dim):
    found = shape(config(name))
    assert len(found.layers) == layers
    assert (found.kv_heads, found.head_dim, found.latent) == (kv_heads, head_dim, None)
    assert {layer.kv_heads for layer in found.layers} == {kv_heads}


def test_head_size_is_its_own_where_the_config_says_so():
    """Mistral-Nemo's heads are 128 wide, not hidden / heads = 160."""
    assert shape(config("Mistral-Nemo-Instruct-2407")).head_dim == 128


def test_latent_attention():
    found = shape(config("DeepSeek-V3"))
    assert found.latent == 512 + 64
    assert (found.experts, found.experts_per_token, found.expert_intermediate) == (256, 8, 2048)


def test_windows_of_alternating_layers():
    assert attention("gpt-oss-120b")[:4] == [128, None, 128, None]
    assert attention("gemma-2-27b-it")[:4] == [4096, None, 4096, None]


def test_windows_of_every_layer_but_the_sixth():
    windows = attention("gemma-3-27b-it")
    assert windows[:7] == [1024] * 5 + [None] + [1024]
    assert windows.count(None) == 10


def test_windows_of_all_layers_and_of_none():
    assert attention("Mistral-7B-v0.1") == [4096] * 32
    assert set(attention("Qwen2.5-7B-Instruct")) == {None}, "use_sliding_window is false"


def test_qwen2_with_windows_has_them_from_a_layer_on():
    asked = {**config("Qwen2.5-72B-Instruct"), "use_sliding_window": True}
    windows = [layer.window for layer in shape(asked).layers]
    assert windows == [None] * 70 + [131072] * 10


def test_hybrid_layers():
    found = shape(config("Nemotron-H-8B-Base-8K")).layers
    kinds = [layer.kind for layer in found]
    assert (kinds.count("attention"), kinds.count("state"), kinds.count("none")) == (4, 24, 24)
    state = next(layer.state_bytes for layer in found if layer.kind == "state")
    assert state == 4 * (128 * 64 * 128 + 3 * (128 * 64 + 2 * 8 * 128))


def test_layers_without_attention():
    """Nemotron-NAS: some layers have none, others share keys among 8 or 16 heads."""
    blocks = [
        {"attention": {"n_heads_in_group": 8, "no_op": False}},
        {"attention": {"n_heads_in_group": None, "no_op": True}},
        {"attention": {"n_heads_in_group": 16}},
    ]
    found = shape({**config("Llama-3.1-70B-Instruct"), "block_configs": blocks}).layers
    assert [(layer.kind, layer.kv_heads) for layer in found] == [
        ("attention", 8),
        ("none", 0),
        ("attention", 4),
    ]


@pytest.mark.parametrize(
    ("more", "modelopt", "method", "kv"),
    [
        ({}, None, "", 2),
        ({"quantization_config": {"quant_method": "mxfp4"}}, None, "mxfp4", 2),
        ({"quantization_config": {"quant_method": "fp8"}}, None, "fp8", 2),
        ({}, {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}, "NVFP4", 1),
        ({}, {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None}}, "FP8", 2),
        (
            {
                "quantization_config": {
                    "quant_method": "modelopt",
                    "quant_algo": "NVFP4",
                    "kv_cache_scheme": {"num_bits": 8, "type": "float"},
                }
            },
            None,
            "NVFP4",
            1,
        ),
    ],
)
def test_quantisation(more, modelopt, method, kv):
    found = shape({**config("Llama-3.1-8B-Instruct"), **more}, modelopt)
    assert (found.quantisation, found.kv_bytes) == (method, kv)


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size"])
def test_what_is_not_told_is_said(key):
    partial = {k: v for k, v in config("Llama-3.1-8B-Instruct").items() if k != key}
    with pytest.raises(UnknownShape, match=key):
        shape(partial)
