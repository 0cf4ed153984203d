"""The options of `trtllm-serve serve`, with the releases that have them.

From the real program's source at several ages; `since` is the first release with an option,
`until` the first one without it again.
"""

from dataclasses import dataclass

from .version import at_least

E, N, RC6, RC13, NEXT = "1.3.0rc1", "1.3.0rc22", "1.3.0rc6", "1.3.0rc13", "1.4.0rc0"
_PARSERS = ("deepseek-r1", "qwen3")
_TOOL_PARSERS = (
    "qwen3", "qwen3_coder", "kimi_k2", "deepseekv3", "deepseekv3.1", "deepseek_v32",
)  # fmt: skip
_LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug")


@dataclass(frozen=True)
class Option:
    """One option. `kind` is int, float, str, path, flag, or the allowed words."""

    name: str
    kind: str | tuple[str, ...] = "str"
    default: int | float | str | bool | None = None
    aliases: tuple[tuple[str, str], ...] = ()  # (since, name)
    since: str = "1.2.0rc1"
    until: str | None = None
    field: str = ""  # the engine argument it sets, where it does: see llm_args
    repeated: bool = False

    def exists(self, version: str) -> bool:
        """Whether that release has the option."""
        gone = self.until is not None and at_least(self.until, version)
        return at_least(self.since, version) and not gone

    def names(self, version: str) -> list[str]:
        """Its spellings in that release, without the dashes."""
        return [self.name, *(name for since, name in self.aliases if at_least(since, version))]


OPTIONS = (
    Option("tokenizer"),
    Option("custom_tokenizer", since=E),
    Option("custom_module_dirs", "path", since=E, repeated=True),
    Option("host", default="localhost"),
    Option("port", "int", 8000),
    Option("backend", ("pytorch", "tensorrt", "trt", "_autodeploy"), "pytorch", until=N),
    Option("backend", ("pytorch", "_autodeploy"), "pytorch", since=N),
    Option("log_level", _LEVELS, "info", until=N),
    Option("log_level", (*_LEVELS, "trace"), "info", since=N),
    Option("max_beam_width", "int", 1, field="max_beam_width"),
    Option("max_batch_size", "int", 2048, field="max_batch_size"),
    Option("max_num_tokens", "int", 8192, field="max_num_tokens"),
    Option("max_seq_len", "int", field="max_seq_len"),
    Option("tp_size", "int", 1, ((E, "tensor_parallel_size"),), field="tensor_parallel_size"),
    Option("pp_size", "int", 1, ((E, "pipeline_parallel_size"),), field="pipeline_parallel_size"),
    Option("cp_size", "int", 1, ((E, "context_parallel_size"),), E, field="context_parallel_size"),
    Option("ep_size", "int", None, ((E, "moe_expert_parallel_size"),),
           field="moe_expert_parallel_size"),
    Option("cluster_size", "int", None, ((E, "moe_cluster_parallel_size"),),
           field="moe_cluster_parallel_size"),
    Option("gpus_per_node", "int", field="gpus_per_node"),
    Option("kv_cache_free_gpu_memory_fraction", "float", 0.9,
           (("1.2.0rc6", "free_gpu_memory_fraction"),),
           field="kv_cache_config.free_gpu_memory_fraction"),
    Option("kv_cache_dtype", ("auto", "fp8", "nvfp4"), "auto", since=RC13,
           field="kv_cache_config.dtype"),
    Option("num_postprocess_workers", "int", 0, field="num_postprocess_workers"),
    Option("trust_remote_code", "flag", False, field="trust_remote_code"),
    Option("revision", aliases=((N, "hf_revision"),), since=E, field="revision"),
    Option("extra_llm_api_options", "path", aliases=(("1.2.0rc5", "config"),)),
    Option("reasoning_parser", _PARSERS, until=E),
    Option("reasoning_parser", (*_PARSERS, "nano-v3"), since=E),
    Option("tool_parser", _TOOL_PARSERS, since=E),
    Option("metadata_server_config_file"),
    Option("server_role", ("CONTEXT", "GENERATION", "MM_ENCODER")),
    Option("fail_fast_on_attention_window_too_large", "flag", False, until=NEXT,
           field="fail_fast_on_attention_window_too_large"),
    Option("fail_fast_on_attention_window_too_large", "flag", True, since=NEXT),  # on, and deprecated
    Option("otlp_traces_endpoint", since=E),
    Option("disagg_cluster_uri"),
    Option("enable_chunked_prefill", "flag", False, field="enable_chunked_prefill"),
    Option("enable_attention_dp", "flag", False, since=RC13, field="enable_attention_dp"),
    Option("media_io_kwargs"),
    Option("chat_template", since=E),
    Option("grpc", "flag", False, since=E),
    Option("served_model_name", since=RC6),
    Option("extra_visual_gen_options", "path", since=E, until=NEXT),
    Option("set", since=NEXT, repeated=True),
    Option("allow_request_chat_template", "flag", False, since=NEXT),
)  # fmt: skip
SUBCOMMANDS = ("serve", "disaggregated", "disaggregated_mpi_worker", "mm_embedding_serve")


def options_of(version: str) -> list[Option]:
    """The options that a release has."""
    return [option for option in OPTIONS if option.exists(version)]
