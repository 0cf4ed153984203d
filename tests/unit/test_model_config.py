"""Shapes of real architectures, by their published config.json."""

from __future__ import annotations

import pytest

from cluster import model_config
from cluster.fit import kv
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


def test_the_key_of_a_sparse_attentions_indexer_is_kept_beside_the_latent():
    """DeepSeek-V3.2: 128 numbers and a scale of four bytes more, for each token and layer."""
    found = shape({**config("DeepSeek-V3"), "model_type": "deepseek_v32", "index_head_dim": 128})
    assert found.latent == 512 + 64 + 128 + 4
    assert kv.token_bytes(found) == 61 * 708 * 2


@pytest.mark.parametrize(
    ("said", "heads", "kv_heads", "head_dim"),
    [
        ({"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}, 8, 4, 256),
        (
            {"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
             "num_attention_heads": 16, "num_key_value_heads": 8},
            16, 8, 256,
        ),
    ],
)  # fmt: skip
def test_what_gemma_3_leaves_out_is_its_classs_own(said, heads, kv_heads, head_dim):
    """The 4B and 12B models: their heads are 256 wide, not hidden / heads."""
    text = {"model_type": "gemma3_text", "sliding_window": 1024, **said}
    found = shape({"model_type": "gemma3", "text_config": text})
    assert (found.heads, found.kv_heads, found.head_dim) == (heads, kv_heads, head_dim)
    assert (found.vocabulary, found.max_positions) == (262208, 131072)


def test_a_million_tokens_of_deepseek_v4_pro():
    """9.62 GiB in BF16, as vLLM's authors publish it for the 61 layers."""
    asked = {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 1, "head_dim": 512, "index_head_dim": 128,
        "hidden_size": 7168, "vocab_size": 129280, "sliding_window": 128, "moe_intermediate_size": 3072,
        "compress_ratios": [128, 128, *([4, 128] * 29), 4, 0],
    }  # fmt: skip
    assert round(kv.request_bytes(shape(asked), 1 << 20, 1, 1) / (1 << 30), 2) == 9.62


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


#: As published; layer_types is what newer versions of transformers add.
QWEN3_NEXT = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    "intermediate_size": 5120, "moe_intermediate_size": 512, "num_experts": 512,
    "num_experts_per_tok": 10, "max_position_embeddings": 262144, "vocab_size": 151936,
}  # fmt: skip


def kept(**changes: object) -> list[int]:
    """The layers that keep keys and values of every token."""
    found = shape({**QWEN3_NEXT, "full_attention_interval": None, "model_type": "other", **changes}).layers
    return [index for index, layer in enumerate(found) if layer.kind == "attention"]


def test_hybrid_attention_without_a_list_of_layers():
    found = shape(QWEN3_NEXT)
    listed = [("linear_attention", "full_attention")[index % 4 == 3] for index in range(48)]
    assert found == shape({**QWEN3_NEXT, "layer_types": listed})
    assert [layer.kind for layer in found.layers].count("attention") == 12
    assert kv.token_bytes(found) == 24_576
    assert kv.token_bytes(shape({k: v for k, v in QWEN3_NEXT.items() if k != "full_attention_interval"})) == (
        24_576
    )
    inside = {"model_type": "qwen3_5_moe", "text_config": {**QWEN3_NEXT, "model_type": "qwen3_5_moe_text"}}
    assert kv.token_bytes(shape(inside)) == 24_576


@pytest.mark.parametrize(
    ("rule", "layers"),
    [
        ({}, list(range(48))),
        ({"full_attention_interval": 8}, [7, 15, 23, 31, 39, 47]),
        ({"attn_layer_period": 8, "attn_layer_offset": 4}, [4, 12, 20, 28, 36, 44]),
        ({"attn_layer_indices": [9, 18, 27]}, [9, 18, 27]),
        ({"full_attn_idxs": [2, 5]}, [2, 5]),
        ({"attn_type_list": [0, 1] * 2 + [0] * 44}, [1, 3]),
        ({"linear_attn_config": {"full_attn_layers": [4, 8], "kda_layers": [1, 2, 3]}}, [3, 7]),
    ],
)
def test_rules_for_which_layers_have_attention(rule, layers):
    assert kept(**rule) == layers


def test_compressed_attention():
    """DeepSeek-V4-Flash: 2 layers with a window alone, 21 sparse ones, 20 heavily compressed, a draft's."""
    ratios = [0, 0, 4, *([128, 4] * 20), 0]
    asked = {
        **QWEN3_NEXT, "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
        "full_attention_interval": None, "num_hidden_layers": 43, "num_attention_heads": 64,
        "num_key_value_heads": 1, "head_dim": 512, "index_head_dim": 128, "sliding_window": 128,
        "compress_ratios": ratios,
    }  # fmt: skip
    found = shape(asked)
    kinds = [layer.kind for layer in found.layers]
    assert (len(kinds), kinds.count("state"), kinds.count("compressed")) == (43, 2, 41)
    assert kv.token_bytes(found) == 2 * (21 * (512 + 128) // 4 + 20 * 512 // 128)
    window = 43 * 128 * 512 * 2
    long = 1 << 20
    assert kv.request_bytes(found, long, 1, 1) == window + long * kv.token_bytes(found)
    assert kv.token_bytes(found, tensor=2) == kv.token_bytes(found), "a latent is whole on every rank"


def test_layers_without_end_are_no_shape():
    """They would be listed one by one until the memory is full."""
    with pytest.raises(model_config.UnknownShape, match="num_hidden_layers"):
        model_config._layers({"num_hidden_layers": 10**12}, 8, 8, 64, 2)
