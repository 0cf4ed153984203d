"""config.json of the lab's models: the published dimensions, as far as engines and memory plans read them."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_GPT_OSS: Config = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 2880,
    "num_experts_per_tok": 4,
    "experts_per_token": 4,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
    "vocab_size": 201088,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
        ],
    },
    "eos_token_id": 200002,
}  # fmt: skip


def _gpt_oss(layers: int, experts: int) -> Config:
    kinds = ["sliding_attention", "full_attention"]
    return {
        **_GPT_OSS,
        "num_hidden_layers": layers,
        "num_local_experts": experts,
        "layer_types": [kinds[n % 2] for n in range(layers)],
    }


GPT_OSS_120B = _gpt_oss(36, 128)
GPT_OSS_20B = _gpt_oss(24, 32)

_QWEN2: Config = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "max_position_embeddings": 32768,
    "vocab_size": 152064,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "sliding_window": 131072,
    "eos_token_id": 151645,
}
QWEN2_5_7B: Config = {
    **_QWEN2, "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944,
}  # fmt: skip
QWEN2_5_14B: Config = {
    **_QWEN2, "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40,
    "num_key_value_heads": 8, "intermediate_size": 13824,
}  # fmt: skip
QWEN2_5_72B: Config = {
    **_QWEN2, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "num_key_value_heads": 8, "intermediate_size": 29568,
}  # fmt: skip

_NVFP4: Config = {
    "quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "kv_cache_quant_algo": "FP8",
    "ignore": ["lm_head"],
}  # fmt: skip
_QWEN3: Config = {
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "vocab_size": 151936,
    "torch_dtype": "bfloat16",
    "sliding_window": None,
    "eos_token_id": 151645,
}
QWEN3_8B_FP4: Config = {
    **_QWEN3, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 12288, "quantization_config": _NVFP4,
}  # fmt: skip
_QWEN3_MOE: Config = {
    **_QWEN3, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 128,
    "num_experts_per_tok": 8, "num_key_value_heads": 4,
}  # fmt: skip
QWEN3_30B_A3B_FP8: Config = {
    **_QWEN3_MOE, "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
    "intermediate_size": 6144, "moe_intermediate_size": 768,
    "quantization_config": {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
}  # fmt: skip
QWEN3_235B_A22B_FP4: Config = {
    **_QWEN3_MOE, "hidden_size": 4096, "num_hidden_layers": 94, "num_attention_heads": 64,
    "intermediate_size": 12288, "moe_intermediate_size": 1536, "quantization_config": _NVFP4,
}  # fmt: skip

LLAMA_3_1_8B: Config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "max_position_embeddings": 131072, "vocab_size": 128256,
    "torch_dtype": "bfloat16", "eos_token_id": [128001, 128008, 128009],
}  # fmt: skip
MIXTRAL_8X7B: Config = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2,
    "max_position_embeddings": 32768, "vocab_size": 32000, "torch_dtype": "bfloat16",
    "sliding_window": None, "eos_token_id": 2,
}  # fmt: skip
GEMMA_3_1B: Config = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 1152,
    "head_dim": 256, "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
    "intermediate_size": 6912, "max_position_embeddings": 32768, "vocab_size": 262144,
    "sliding_window": 512, "sliding_window_pattern": 6, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "eos_token_id": [1, 106],
}  # fmt: skip
"""Five layers with a window of 512 tokens, then one that sees all; one key-value head."""
DEEPSEEK_V3: Config = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "max_position_embeddings": 163840, "vocab_size": 129280,
    "torch_dtype": "bfloat16", "eos_token_id": 1,
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    },
    "quantization_config": {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
}  # fmt: skip
"""Multi-head latent attention; the layer for multi-token prediction is left out."""
PHI_3_5_MINI: Config = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 3072,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "intermediate_size": 8192, "max_position_embeddings": 131072, "vocab_size": 32064,
    "sliding_window": 262144, "torch_dtype": "bfloat16", "eos_token_id": 32000,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
}  # fmt: skip
