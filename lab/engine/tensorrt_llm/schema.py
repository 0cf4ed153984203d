"""The keys of the YAML file and pydantic's way of refusing the wrong ones."""

from typing import Any, NoReturn

Kind = str | tuple[str, ...] | dict[str, Any]
"""int, float, bool, str, list, any; a tuple of allowed words; a dict for an object."""

FIELDS: dict[str, Kind] = {
    "max_batch_size": "int", "max_num_tokens": "int", "max_seq_len": "int",
    "max_beam_width": "int", "max_input_len": "int", "tensor_parallel_size": "int",
    "pipeline_parallel_size": "int", "context_parallel_size": "int",
    "moe_expert_parallel_size": "int", "moe_tensor_parallel_size": "int",
    "moe_cluster_parallel_size": "int", "gpus_per_node": "int",
    "trust_remote_code": "bool", "revision": "str", "dtype": "str", "backend": "str",
    "tokenizer": "str", "tokenizer_mode": ("auto", "slow"), "skip_tokenizer_init": "bool",
    "load_format": ("auto", "dummy"), "attn_backend": "str", "sampler_type": "str",
    "stream_interval": "int", "disable_overlap_scheduler": "bool",
    "enable_attention_dp": "bool", "enable_chunked_prefill": "bool",
    "enable_autotuner": "bool", "torch_compile_config": "any",
    "guided_decoding_backend": ("xgrammar", "llguidance"), "speculative_config": "any",
    "print_iter_log": "bool", "enable_iter_perf_stats": "bool",
    "enable_iter_req_stats": "bool", "iter_stats_max_iterations": "int",
    "return_perf_metrics": "bool", "perf_metrics_max_requests": "int",
    "batch_wait_timeout_ms": "float", "batch_wait_timeout_iters": "int",
    "num_postprocess_workers": "int", "scheduler_config": "any", "postprocess_tokenizer_dir": "str",
    "orchestrator_type": ("rpc", "ray"), "quant_config": "any", "env_overrides": "any",
    "allreduce_strategy": ("AUTO", "NCCL", "UB", "MINLATENCY", "ONESHOT", "TWOSHOT",
                           "LOWPRECISION", "MNNVL", "NCCL_SYMMETRIC"),
    "checkpoint_format": "str", "reasoning_parser": "str", "lora_config": "any",
    "fail_fast_on_attention_window_too_large": "bool", "cache_transceiver_config": "any",
    "kv_cache_config": {
        "enable_block_reuse": "bool", "max_tokens": "int", "max_attention_window": "list",
        "sink_token_length": "int", "free_gpu_memory_fraction": "float",
        "host_cache_size": "int", "onboard_blocks": "bool",
        "cross_kv_cache_fraction": "float", "secondary_offload_min_priority": "int",
        "event_buffer_max_size": "int", "attention_dp_events_gather_period_ms": "int",
        "enable_partial_reuse": "bool", "copy_on_partial_reuse": "bool", "use_uvm": "bool",
        "max_gpu_total_bytes": "int", "dtype": "str",
        "mamba_ssm_cache_dtype": ("auto", "float16", "bfloat16", "float32"),
        "tokens_per_block": "int",
    },
    "cuda_graph_config": {
        "batch_sizes": "list", "max_batch_size": "int", "enable_padding": "bool",
    },
    "moe_config": {
        "backend": ("AUTO", "CUTLASS", "CUTEDSL", "WIDEEP", "TRTLLM", "DEEPGEMM", "VANILLA",
                    "TRITON"),
        "max_num_tokens": "int", "load_balancer": "any", "disable_finalize_fusion": "bool",
        "use_low_precision_moe_combine": "bool",
    },
    "attention_dp_config": {
        "enable_balance": "bool", "timeout_iters": "int", "batching_wait_iters": "int",
    },
}  # fmt: skip
_NULL_REFUSED = {"tensor_parallel_size", "pipeline_parallel_size", "trust_remote_code"}
_MORE = "    For further information visit https://errors.pydantic.dev/2.12/v/"


class ValidationError(ValueError):
    """Refused arguments, printed as pydantic prints them."""


def validate(document: dict[str, Any]) -> None:
    """Check a file's keys and types.

    Raises:
        ValidationError: everything that is wrong, in one text.
    """
    complaints = _complaints(document, FIELDS, "")
    if complaints:
        plural = "error" if len(complaints) == 1 else "errors"
        head = f"{len(complaints)} validation {plural} for TorchLlmArgs"
        raise ValidationError("\n".join([head, *complaints]))


def _complaints(values: dict[str, Any], kinds: dict[str, Kind], prefix: str) -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        where = f"{prefix}{key}"
        kind = kinds.get(key)
        if kind is None:
            found.append(_complaint(where, "Extra inputs are not permitted", "extra_forbidden", value))
        elif value is None:
            if key in _NULL_REFUSED and not isinstance(kind, dict):
                found.append(_wrong_type(where, str(kind), value))
        elif isinstance(kind, dict):
            if isinstance(value, dict):
                found += _complaints(value, kind, f"{where}.")
            else:
                text = "Input should be a valid dictionary or instance of the configuration class"
                found.append(_complaint(where, text, "model_type", value))
        elif isinstance(kind, tuple):
            if value not in kind:
                words = [f"'{word}'" for word in kind]
                listed = ", ".join(words[:-1]) + f" or {words[-1]}"
                found.append(_complaint(where, f"Input should be {listed}", "literal_error", value))
        elif not _fits(kind, value):
            found.append(_wrong_type(where, kind, value))
    return found


def _fits(kind: str, value: object) -> bool:
    if kind == "any":
        return True
    if kind == "bool":
        return isinstance(value, bool) or value in ("true", "false", 0, 1)
    if kind in ("int", "float"):
        try:
            number = float(value) if isinstance(value, str | int | float) else _no()
        except ValueError:
            return False
        return kind == "float" or number.is_integer()
    return isinstance(value, {"str": str, "list": list}[kind])


def _no() -> NoReturn:
    raise ValueError


def _wrong_type(where: str, kind: str, value: object) -> str:
    long = {"int": "integer", "bool": "boolean", "str": "string", "float": "number"}.get(kind, kind)
    parsing = isinstance(value, str) and kind != "str"
    text = f"Input should be a valid {long}"
    if parsing:
        text += f", unable to {'interpret' if kind == 'bool' else 'parse string as'} " + (
            "input" if kind == "bool" else "an integer" if kind == "int" else "a number"
        )
    return _complaint(where, text, f"{kind}_{'parsing' if parsing else 'type'}", value)


def _complaint(where: str, text: str, kind: str, value: object) -> str:
    shown = f"[type={kind}, input_value={value!r}, input_type={type(value).__name__}]"
    return f"{where}\n  {text} {shown}\n{_MORE}{kind}"
