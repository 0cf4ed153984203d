"""The engine's arguments: defaults, the YAML file, the command line, and who wins.

Before pull request 14812 (June 2026, age N here) a key of the YAML file silently beats the command
line; since then an option that was given beats the file. Before 1.3.0rc3 the merge is shallow: a
`kv_cache_config:` in the file replaces the whole object, with what the command line set in it.
"""

import copy
from collections.abc import Callable
from typing import Any

from .logger import logger
from .schema import FIELDS, validate
from .version import DEEP_MERGE, FAIL_FAST, LATE_2026, at_least

Args = dict[str, Any]
_BUILD = ("max_batch_size", "max_num_tokens", "max_beam_width", "max_seq_len")
_OBJECTS = tuple(name for name, kind in FIELDS.items() if isinstance(kind, dict))


def defaults() -> Args:
    """What holds when neither the command line nor a file says anything."""
    return {
        "max_batch_size": 2048, "max_num_tokens": 8192, "max_seq_len": None, "max_beam_width": 1,
        "tensor_parallel_size": 1, "pipeline_parallel_size": 1, "context_parallel_size": 1,
        "moe_expert_parallel_size": None, "enable_chunked_prefill": False,
        "enable_iter_perf_stats": False, "return_perf_metrics": False,
        "kv_cache_config": {"free_gpu_memory_fraction": 0.9, "dtype": "auto",
                            "tokens_per_block": 32},
        "moe_config": {"backend": "CUTLASS"}, "cuda_graph_config": {},
        "orchestrator_type": None, "revision": None,
        "fail_fast_on_attention_window_too_large": at_least(FAIL_FAST),
    }  # fmt: skip


def merge(command_line: dict[str, Any], given: set[str], document: object) -> Args:
    """The arguments of the engine, not yet checked.

    `command_line` holds engine arguments by (dotted) name, `given` those that were written on the
    line, `document` the parsed YAML file or an empty dict without one.

    Raises:
        TypeError: the file is empty, or not a mapping.
    """
    merged = defaults()
    _apply(merged, command_line, lambda _: True)
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise TypeError(f"argument of type '{kind}' is not iterable")
    for key in document:
        if key in _OBJECTS:
            logger.warning(f"Overriding {key} ")
        if key in _BUILD:
            logger.warning(f"Overriding {key} from build_config to {document[key]}")
    for key, value in document.items():
        merged[key] = _merged(merged.get(key), value) if at_least(DEEP_MERGE) else copy.deepcopy(value)
    if at_least(LATE_2026):
        _apply(merged, command_line, lambda name: name in given)
    return merged


def check(args: Args) -> None:
    """Validate the arguments and fill in the objects' defaults, as the engine's constructor does.

    Raises:
        ValidationError: unknown keys or wrong types.
        ValueError: values outside their range, with the real program's text.
    """
    validate(args)
    args.update({key: defaults()[key] for key in _BUILD if args[key] is None})
    for name in ("kv_cache_config", "moe_config"):
        args[name] = {**defaults()[name], **(args[name] or {})}
    fraction = args["kv_cache_config"]["free_gpu_memory_fraction"]
    if not 0 <= fraction <= 1:
        raise ValueError("kv_cache_config.free_gpu_memory_fraction must be a float between 0 and 1")
    graphs = args["cuda_graph_config"] or {}
    sizes, largest = graphs.get("batch_sizes"), graphs.get("max_batch_size", 0)
    if sizes and largest and max(sizes) != largest:
        raise ValueError(
            "Please don't set both cuda_graph_config.batch_sizes and "
            f"cuda_graph_config.max_batch_size.\nbatch_sizes: {sizes}, max_batch_size: {largest}"
        )
    speculative = args.get("speculative_config")
    kinds = ("MTP", "Eagle", "Eagle3", "NGram", "DraftTarget", "Lookahead", "Medusa",
             "UserProvided", "AUTO")  # fmt: skip
    if speculative and speculative.get("decoding_type") not in kinds:
        raise ValueError(f"Invalid decoding type: {speculative.get('decoding_type')}")


def world_size(args: Args) -> int:
    """How many ranks the parallelism asks for."""
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")
    product = 1
    for name in sizes:
        product *= int(args[name])
    return product


def check_world(args: Args, ranks: int) -> None:
    """Parallelism and MPI must agree.

    Raises:
        ValueError: with the real program's text.
    """
    if world_size(args) != ranks:
        raise ValueError(
            f"n_workers must be equal to the number of processes in MPI, got {world_size(args)} vs {ranks}"
        )


def _merged(under: object, over: object) -> object:
    """`over`, with the keys that only `under` has, at every depth."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    both = {key: _merged(under.get(key), value) for key, value in over.items()}
    return {**under, **both}


def _apply(merged: Args, values: dict[str, Any], wanted: Callable[[str], bool]) -> None:
    for name, value in values.items():
        if wanted(name):
            outer, _, inner = name.partition(".")
            if inner:
                merged[outer] = {**(merged[outer] or {}), inner: value}
            else:
                merged[outer] = value
