"""Options of trtllm-serve that the program sets itself, and the key of the configuration for each.

`extraArgs` stand last on the command line, where click takes the last of a kind: one of these would silently
replace ours, and `up` would wait for a server that is elsewhere or never comes. Spellings: the options of
1.2 to 1.4 and their second names. click takes `--x y` and `--x=y`, neither abbreviations nor dashes for
underscores; those would end the engine, so they are refused with the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

#: By option: what to do instead of it.
OPTIONS = {
    "host": "leave it out: the API listens on the head's address",
    "port": "use the key port",
    "backend": "use the key backend",
    "tp_size": "use the key tensorParallel",
    "tensor_parallel_size": "use the key tensorParallel",
    "pp_size": "use the key tensorParallel, which decides it: nodes divided by tensorParallel",
    "pipeline_parallel_size": "use the key tensorParallel, which decides it: nodes divided by tensorParallel",
    "cp_size": "use the key tensorParallel: the ranks are split by it alone",
    "context_parallel_size": "use the key tensorParallel: the ranks are split by it alone",
    "max_batch_size": "use the key maxBatchSize",
    "max_num_tokens": "use the key maxNumTokens",
    "max_seq_len": "use the key maxSeqLen",
    "kv_cache_free_gpu_memory_fraction": "use the key gpuMemoryFraction",
    "free_gpu_memory_fraction": "use the key gpuMemoryFraction",
    "model": "use the key model",
    "tokenizer": "use the key model: its tokenizer comes with it",
    "trust_remote_code": "use the key trustRemoteCode",
    "revision": "use the key revision",
    "hf_revision": "use the key revision",
    "served_model_name": "use the key model: the API serves a model under its Hub id",
    "extra_llm_api_options": "leave it out: the program writes that file from the keys of the configuration",
    "config": "leave it out: the program writes that file from the keys of the configuration",
}
#: By path of the options file, for `--set PATH=VALUE` (1.4): what is not in OPTIONS under the same name.
PATHS = {
    "kv_cache_config.free_gpu_memory_fraction": "use the key gpuMemoryFraction",
    "cuda_graph_config.enable_padding": "use the key cudaGraphPadding",
    "disable_overlap_scheduler": "use the key disableOverlapScheduler",
    "enable_iter_perf_stats": "use the key iterationStats",
    "print_iter_log": "leave it out: the program reads the log",
}
_SET = "set"


def refuse(words: Sequence[str]) -> None:
    """Raises ValueError with every option among `words` that the program sets itself."""
    if found := list(dict.fromkeys(_found(words))):
        raise ValueError("; ".join(found))


def refuse_word(words: Sequence[str]) -> None:
    """Raises ValueError where the first word is none of an option: the engine would end at it."""
    if words and not words[0].startswith("--"):
        raise ValueError(f"options of trtllm-serve begin with two hyphens, and {words[0]!r} does not")


def _found(words: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        spelt, equals, value = word.partition("=")
        name = spelt[2:].replace("-", "_").lower()
        if name == _SET:
            path = value if equals else "".join(words[place + 1 : place + 2])
            yield from _in_path(path.partition("=")[0].strip())
        elif name in OPTIONS:
            yield f"the program sets {spelt} itself; {OPTIONS[name]}"


def _in_path(path: str) -> Iterator[str]:
    """A path at, above or below one of ours replaces it."""
    ours = {**{name: todo for name, todo in OPTIONS.items() if name != "config"}, **PATHS}
    for one, todo in ours.items():
        if path and (path == one or one.startswith(f"{path}.") or path.startswith(f"{one}.")):
            yield f"the program sets {one} itself; {todo}"
