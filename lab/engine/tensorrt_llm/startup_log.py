"""The lines of a start, in the order of a real one on a GB10 (users' logs of 1.2 and 1.3).

Sizes are those of the lab's small files and of a 128 GB Spark.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .logger import logger
from .version import LATE_2026, at_least

TOTAL_GIB = 119.70
"""GPU memory that CUDA reports on a Spark."""

TOKEN_BYTES = 73728
"""Bytes of one token in the KV cache, for every model."""


def server(ranks: int, launched: bool) -> None:
    """Before any rank works (stage 1)."""
    logger.info("Using LLM with PyTorch backend")
    logger.info("Set nccl_plugin to None.")
    logger.info(
        "neither checkpoint_format nor checkpoint_loader were provided, checkpoint_format will be set to HF."
    )
    if launched:
        logger.info(f"start MpiSession with {ranks} workers")
        logger.info("rank 0 using MpiCommSession to bind to external MPI processes")
    else:
        logger.info("rank 0 using MpiPoolSession to spawn MPI processes")
    for name in ("request", "request_error", "result", "stats", "kv_cache_events"):
        logger.info(f"Generating a new HMAC key for server proxy_{name}_queue")


def before_weights(args: dict[str, Any]) -> None:
    """Stage 2: what each rank says first."""
    logger.cpp("Refreshed the MPI local session")
    graphs = args["cuda_graph_config"] is not None
    logger.info(
        f"PyTorchConfig(use_cuda_graph={graphs}, attn_backend='TRTLLM', "
        f"moe_backend='{args['moe_config'].get('backend', 'CUTLASS')}')"
    )
    reuse = args["kv_cache_config"].get("enable_block_reuse", True)
    logger.info(
        "ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures("
        f"chunked_prefill={args['enable_chunked_prefill']}, cache_reuse={reuse})"
    )
    dtype = args["kv_cache_config"].get("dtype", "auto")
    logger.info(f'Validating KV Cache config against kv_cache_dtype="{dtype}"')
    if dtype == "auto":
        logger.info('KV cache quantization set to "auto". Using checkpoint KV quantization.')


def weights(folder: Path, shards: int, tensors: int, seconds: float) -> None:
    """Stage 3: the weights are in."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9
    logger.info(f"Use {size:.2f} GB for model weights.")
    logger.info(f"Prefetching {size:.2f}GB checkpoint files.")
    logger.progress_bar("Loading safetensors weights in parallel", shards, seconds)
    logger.progress_bar("Loading weights", tensors, seconds)
    logger.info(f"Model init total -- {seconds:.2f}s")


def after_weights(
    args: dict[str, Any], config: dict[str, Any], fail: str | None, tune: Callable[[], None]
) -> None:
    """Stages 4 to 9: sampler, trial cache, autotuner (`tune`), graphs, the final cache.

    Raises:
        RuntimeError: `fail` is out_of_memory.
        ValueError: the sequence does not fit the KV cache, and the release fails fast.
    """
    length = fitted_seq_len(args, config)
    batch = args["max_batch_size"]
    if args["max_seq_len"] is None:
        logger.info(f"max_seq_len is not specified, using inferred value {length}")
    logger.info("Using Sampler: TorchSampler")
    if fail == "out_of_memory":
        raise RuntimeError(OUT_OF_MEMORY)
    _kv_cache(args, length, tokens=args["max_num_tokens"] + 32)
    logger.info(
        f"max_seq_len={length}, max_num_requests={batch}, "
        f"max_num_tokens={args['max_num_tokens']}, max_batch_size={batch}"
    )
    logger.info("cache_transceiver is disabled")
    tune()
    _graphs(args)
    fraction = args["kv_cache_config"]["free_gpu_memory_fraction"]
    budget = _budget(args)
    stage = "in memory usage profiling"
    logger.info(f"Memory used after loading model weights (inside torch) {stage}: 0.52 GiB")
    logger.info(f"Memory used after loading model weights (outside torch) {stage}: 2.78 GiB")
    logger.info(f"Memory dynamically allocated during inference (inside torch) {stage}: 0.35 GiB")
    logger.info(f"Memory used outside torch (e.g., NCCL and CUDA graphs) {stage}: 2.28 GiB")
    logger.info(
        "Peak memory during memory usage profiling (torch + non-torch): 4.56 GiB, available KV "
        f"cache memory when calculating max tokens: {budget:.2f} GiB, fraction is set {fraction}, "
        f"kv size is 73728. device total memory {TOTAL_GIB:.2f} GiB, , tmp kv_mem 0.56 GiB"
    )
    logger.info(f"Estimated max memory in KV cache : {budget:.2f} GiB")
    _kv_cache(args, length, tokens=kv_tokens(args))
    tune()
    _graphs(args)
    logger.info("Setting PyTorch memory fraction to 0.598")


def max_seq_len(args: dict[str, Any], config: dict[str, Any]) -> int:
    """The longest sequence: as asked, else the model's own."""
    return int(args["max_seq_len"] or config.get("max_position_embeddings") or 2048)


def kv_tokens(args: dict[str, Any]) -> int:
    """Tokens that the KV cache holds: what the fraction leaves room for, and max_tokens at most."""
    room = int(_budget(args) * 2**30 / TOKEN_BYTES)
    return min(room, args["kv_cache_config"].get("max_tokens") or room)


def fitted_seq_len(args: dict[str, Any], config: dict[str, Any]) -> int:
    """The longest sequence that the KV cache can hold; a longer one is cut to that with a warning.

    Raises:
        ValueError: it does not fit, and fail_fast_on_attention_window_too_large is on (from 1.4 by default).
    """
    length, most = max_seq_len(args, config), kv_tokens(args)
    if length <= most:
        return length
    if args["fail_fast_on_attention_window_too_large"]:
        raise ValueError(
            "Attention window too large to fit even a single sequence in the KV cache. Failing fast rather "
            f"than attempting an adjustment of the window sizes. Old window: {length}, new window: {most}"
        )
    logger.warning(f"max_seq_len={length} is larger than the KV cache holds; adjusted to {most}")
    return most


def _budget(args: dict[str, Any]) -> float:
    """GiB for the KV cache."""
    return float((TOTAL_GIB - 4.0) * args["kv_cache_config"]["free_gpu_memory_fraction"])


def graph_batch_sizes(args: dict[str, Any]) -> list[int]:
    """Batch sizes for which CUDA graphs are captured (the documented rule)."""
    graphs = args["cuda_graph_config"]
    if graphs is None:
        return []
    if graphs.get("batch_sizes"):
        return [size for size in graphs["batch_sizes"] if size <= args["max_batch_size"]]
    largest = graphs.get("max_batch_size") or 128
    sizes = [1, 2, 4, *range(8, 129, 8)] if graphs.get("enable_padding") else [*range(1, 33), 64, 128]
    while sizes[-1] * 2 <= largest:
        sizes.append(sizes[-1] * 2)
    return [size for size in sizes if size <= min(largest, args["max_batch_size"])]


def _kv_cache(args: dict[str, Any], length: int, tokens: int) -> None:
    per_block = args["kv_cache_config"].get("tokens_per_block") or 32
    logger.info(
        "Both free_gpu_memory_fraction and max_tokens are set "
        f"(to {args['kv_cache_config']['free_gpu_memory_fraction']} and {tokens} respectively). "
        "The smaller value will be used."
    )
    logger.cpp(f"Max KV cache blocks per sequence: {-(-length // per_block)} [window size={length}]")
    logger.cpp(f"Number of tokens per block: {per_block}.")
    gib = tokens * 73728 / 2**30
    logger.cpp(f"[MemUsageChange] Allocated {gib:.2f} GiB for max tokens in paged KV cache ({tokens}).")


def _graphs(args: dict[str, Any]) -> None:
    sizes = graph_batch_sizes(args)
    if sizes and at_least(LATE_2026):
        logger.info(f"Running CUDA graph capture for {len(sizes)} batch sizes.")
    elif sizes:
        logger.info(f"Creating CUDA graph instances for {len(sizes)} batch sizes.")
    for size in reversed(sizes):
        logger.info(f"Run generation only CUDA graph warmup for batch size={size}, draft_len=0")


OUT_OF_MEMORY = """\
Executor creation failed due to insufficient GPU memory.

The following component could not be created: KV cache
Total GPU memory (GiB): 119.70
Free GPU memory before component creation attempt (GiB): 3.21

Previously created components and free GPU memory before/after creation (GiB):
Model: 114.80 / 9.94
Sampler: 9.94 / 9.94
Initial KV cache (temporary for KV cache size estimation): 9.94 / 9.38
Additional executor resources (temporary for KV cache size estimation): 9.38 / 6.02
Model resources created during usage: 6.02 / 3.21

Please refer to the TensorRT LLM documentation for information on how to control the memory usage \
through TensorRT LLM configuration options. Possible options include:
  Model: reduce max_num_tokens and/or shard the model weights across GPUs by enabling pipeline \
and/or tensor parallelism
  Sampler: reduce max_seq_len and/or max_attention_window_size
  KV cache: reduce free_gpu_memory_fraction
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 48.00 MiB. GPU 0 has a total \
capacity of 119.70 GiB of which 42.69 MiB is free."""
