"""The YAML file against the command line, and what both may contain."""

import pytest

from lab.engine.tensorrt_llm import llm_args
from lab.engine.tensorrt_llm.schema import ValidationError

LINE = {"max_batch_size": 64, "tensor_parallel_size": 2, "kv_cache_config.free_gpu_memory_fraction": 0.5}


def merged(document, given=frozenset(LINE)):
    args = llm_args.merge(LINE, set(given), document)
    llm_args.check(args)
    return args


def test_without_a_file_the_line_holds():
    args = merged({})
    assert (args["max_batch_size"], args["kv_cache_config"]["free_gpu_memory_fraction"]) == (64, 0.5)


def test_the_file_beats_the_line_silently(capsys):
    assert merged({"max_batch_size": 4})["max_batch_size"] == 4
    assert "[W] Overriding max_batch_size from build_config to 4" in capsys.readouterr().out


def test_the_line_beats_the_file_since_june_2026(monkeypatch):
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc29")
    assert merged({"max_batch_size": 4})["max_batch_size"] == 64
    assert merged({"max_batch_size": 4}, given=set())["max_batch_size"] == 4


def test_an_object_in_the_file_keeps_what_the_line_set_in_it():
    cache = merged({"kv_cache_config": {"enable_block_reuse": False}})["kv_cache_config"]
    assert (cache["free_gpu_memory_fraction"], cache["enable_block_reuse"]) == (0.5, False)
    cache = merged({"kv_cache_config": {"free_gpu_memory_fraction": 0.7}})["kv_cache_config"]
    assert cache["free_gpu_memory_fraction"] == 0.7


@pytest.mark.parametrize("version", ["1.2.1", "1.3.0rc1", "1.3.0rc2"])
def test_before_rc3_it_discards_the_lines_fraction(monkeypatch, version):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    cache = merged({"kv_cache_config": {"enable_block_reuse": False}})["kv_cache_config"]
    assert (cache["free_gpu_memory_fraction"], cache["enable_block_reuse"]) == (0.9, False)


@pytest.mark.parametrize("document", [None, "text"])
def test_an_empty_file_is_a_type_error(document):
    with pytest.raises(TypeError, match="is not iterable"):
        merged(document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"max_batch": 4}, "max_batch\n  Extra inputs are not permitted [type=extra_forbidden"),
        ({"kv_cache_config": {"fraction": 1}}, "kv_cache_config.fraction\n  Extra inputs are not"),
        ({"max_batch_size": "many"}, "Input should be a valid integer, unable to parse string"),
        ({"tensor_parallel_size": None}, "Input should be a valid integer"),
        ({"moe_config": {"backend": "CUTLAS"}}, "Input should be 'AUTO', 'CUTLASS'"),
        ({"kv_cache_config": 0.5}, "Input should be a valid dictionary"),
        ({"trust_remote_code": "perhaps"}, "Input should be a valid boolean"),
    ],
)
def test_the_file_is_validated(document, said):
    with pytest.raises(ValidationError) as caught:
        merged(document)
    assert said in str(caught.value)
    assert str(caught.value).startswith("1 validation error for TorchLlmArgs")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"kv_cache_config": {"free_gpu_memory_fraction": 1.5}}, "must be a float between 0 and 1"),
        ({"cuda_graph_config": {"batch_sizes": [1, 2], "max_batch_size": 8}}, "Please don't set both"),
        ({"speculative_config": {"decoding_type": "Guess"}}, "Invalid decoding type: Guess"),
    ],
)
def test_ranges(document, said):
    with pytest.raises(ValueError, match=said):
        merged(document)


def test_null_is_the_default():
    assert merged({"max_batch_size": None, "kv_cache_config": None})["max_batch_size"] == 2048


def test_null_turns_cuda_graphs_off():
    assert merged({"cuda_graph_config": None})["cuda_graph_config"] is None


def test_parallelism_must_fit_the_ranks():
    with pytest.raises(ValueError, match="number of processes in MPI, got 2 vs 3"):
        llm_args.check_world(merged({}), 3)
