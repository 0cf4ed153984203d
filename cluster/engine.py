"""What the engine is told: the options file and the command line of trtllm-serve.

Option and key names: TensorRT-LLM's documentation and source, 1.2.0rc2 to 1.4. Before mid 2026 the
options file silently beats the command line and replaces whole sections, so each fact stands in exactly
one place: batch, tokens, context and parallelism on the command line, memory fraction and graphs in the file.

`max_stats_len`, the bound of /metrics in the PyTorch backend, is left at the engine's default of 1000
iterations: ten seconds at 100 iterations a second, more than lies between two reads of status or bench.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster import catalog
from cluster.config import Settings

#: trtllm-serve's own default for --log_level.
DEFAULT_LOG_LEVEL = "info"
LOG_LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug", "trace")


@dataclass(frozen=True)
class Engine:
    """The engine's settings with every default filled in. Tokens and requests are counts; `max_seq_len` None
    leaves the length of the context to the engine.
    """

    model: str
    tensor_parallel: int
    pipeline_parallel: int
    max_batch_size: int
    max_num_tokens: int
    max_seq_len: int | None
    gpu_memory_fraction: float
    backend: str
    trust_remote_code: bool
    cuda_graph_padding: bool
    disable_overlap_scheduler: bool
    iteration_stats: bool
    extra_args: tuple[str, ...]
    port: int


def resolve(settings: Settings, architecture: str = "") -> Engine:
    """The user's settings, else the catalog's for the model, else the general defaults. `architecture`: of
    the model's config.json, "" while it is not known.
    """
    model = catalog.known(settings.model, architecture)
    ranks = len(settings.active_nodes)
    tensor = settings.tensor_parallel or ranks
    return Engine(
        model=settings.model,
        tensor_parallel=tensor,
        pipeline_parallel=ranks // tensor,
        max_batch_size=settings.max_batch_size or model.max_batch_size,
        max_num_tokens=settings.max_num_tokens or model.max_num_tokens,
        max_seq_len=settings.max_seq_len,
        gpu_memory_fraction=settings.gpu_memory_fraction or model.gpu_memory_fraction,
        backend=settings.backend,
        trust_remote_code=settings.trust_remote_code,
        cuda_graph_padding=settings.cuda_graph_padding,
        # NVIDIA's playbooks: off on one Spark, the engine's default (on) on two.
        disable_overlap_scheduler=(
            ranks == 1 if settings.disable_overlap_scheduler is None else settings.disable_overlap_scheduler
        ),
        iteration_stats=settings.iteration_stats,
        extra_args=settings.extra_args,
        port=settings.port,
    )


def options_file(engine: Engine) -> str:
    """extra-llm-api-config.yml. JSON is YAML, and its keys come out in one order, so diffs are true."""
    options: dict[str, object] = {
        "cuda_graph_config": {"enable_padding": engine.cuda_graph_padding},
        "disable_overlap_scheduler": engine.disable_overlap_scheduler,
        "kv_cache_config": {"free_gpu_memory_fraction": engine.gpu_memory_fraction},
        "print_iter_log": False,
    }
    if engine.iteration_stats:
        # What `trtspark status` and `trtspark bench` read at /metrics.
        options["enable_iter_perf_stats"] = True
    return json.dumps(options, indent=2, sort_keys=True) + "\n"


def serve_command(engine: Engine, listen: IPv4Address, options_path: str, snapshot: str = "") -> list[str]:
    """The command line of trtllm-serve. The user's `extraArgs` come last; none of them is one of ours
    (cluster/engine_options.py).

    `snapshot`: the model's folder in the container, "" while it is not known. The tokenizer is loaded from
    there, because transformers 4.57.3 asks the Hub about a tokenizer given by its id even when it is offline.
    The model keeps its id, which is the name that the API serves.
    """
    words = ["trtllm-serve", engine.model, "--host", str(listen), "--port", str(engine.port)]
    words += ["--backend", engine.backend, "--tp_size", str(engine.tensor_parallel)]
    if engine.pipeline_parallel > 1:
        words += ["--pp_size", str(engine.pipeline_parallel)]
    words += ["--max_batch_size", str(engine.max_batch_size)]
    words += ["--max_num_tokens", str(engine.max_num_tokens)]
    if engine.max_seq_len is not None:
        words += ["--max_seq_len", str(engine.max_seq_len)]
    if snapshot:
        words += ["--tokenizer", snapshot]
    if engine.trust_remote_code:
        words.append("--trust_remote_code")
    return [*words, "--extra_llm_api_options", options_path, *engine.extra_args]


def environment(engine: Engine) -> dict[str, str]:
    """Every rank's variables for the engine.

    trtllm-serve sets the log level of rank 0 alone; the others take it from TLLM_LOG_LEVEL, which beats
    --log_level. So a level among `extraArgs` is the variable's value too.
    """
    level = DEFAULT_LOG_LEVEL
    for place, word in enumerate(engine.extra_args):
        name, equals, value = word.partition("=")
        if name == "--log_level":
            level = value if equals else "".join(engine.extra_args[place + 1 : place + 2])
    return {"TLLM_LOG_LEVEL": (level if level in LOG_LEVELS else DEFAULT_LOG_LEVEL).upper()}
