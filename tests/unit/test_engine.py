"""What the engine is told: whose value counts, the options file, the command line."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
import yaml

from cluster import engine, engine_options
from cluster.config import load
from cluster.errors import ConfigError
from cluster.service_spec import snapshot_folder
from lab.engine.tensorrt_llm.options import OPTIONS
from tests import samples
from tests.unit.test_config import raw

LISTEN = IPv4Address("10.24.11.11")


def resolve(count: int = 2, **changes: object) -> engine.Engine:
    return engine.resolve(samples.settings(count, **changes))


def words(count: int = 2, **changes: object) -> list[str]:
    return engine.serve_command(resolve(count, **changes), LISTEN, "/opt/options.yml")


@pytest.mark.parametrize(
    ("changes", "batch", "tokens", "fraction", "trust"),
    [
        ({"model": "openai/gpt-oss-120b"}, 4, 8192, 0.90, False),
        ({"model": "Qwen/Qwen2.5-32B-Instruct"}, 8, 32768, 0.85, False),
        ({"model": "microsoft/phi-4"}, 16, 16384, 0.90, False),
        ({"model": "somebody/else"}, 4, 32768, 0.90, False),
        ({"model": "unsloth/gpt-oss-120b"}, 4, 8192, 0.90, False),
        ({"model": "unsloth/gpt-oss-20b-BF16"}, 8, 8192, 0.90, False),
        ({"model": "microsoft/phi-4", "trustRemoteCode": True}, 16, 16384, 0.90, True),
        (
            {"model": "microsoft/phi-4", "maxBatchSize": 1, "maxNumTokens": 64, "gpuMemoryFraction": 0.1},
            1,
            64,
            0.1,
            False,
        ),
    ],
)
def test_the_user_then_the_catalog_then_the_general_default(changes, batch, tokens, fraction, trust):
    found = resolve(**changes)
    assert (found.max_batch_size, found.max_num_tokens) == (batch, tokens)
    assert (found.gpu_memory_fraction, found.trust_remote_code) == (fraction, trust)


@pytest.mark.parametrize(
    ("count", "changes", "tensor", "pipeline"),
    [
        (1, {}, 1, 1),
        (2, {}, 2, 1),
        (2, {"tensorParallel": 1}, 1, 2),
        (8, {"tensorParallel": 4}, 4, 2),
        (2, {"headOnly": True}, 1, 1),
    ],
)
def test_parallelism_uses_every_node(count, changes, tensor, pipeline):
    found = resolve(count, **changes)
    assert (found.tensor_parallel, found.pipeline_parallel) == (tensor, pipeline)


def test_command_line():
    assert words() == [
        *("trtllm-serve", "openai/gpt-oss-120b", "--host", "10.24.11.11", "--port", "8355"),
        *("--backend", "pytorch", "--tp_size", "2", "--max_batch_size", "4", "--max_num_tokens", "8192"),
        *("--extra_llm_api_options", "/opt/options.yml"),
    ]


def test_pipeline_and_remote_code_are_said_only_where_wanted():
    said = words(2, tensorParallel=1, trustRemoteCode=True)
    assert said[said.index("--pp_size") + 1] == "2"
    assert "--trust_remote_code" in said
    assert {"--pp_size", "--trust_remote_code"}.isdisjoint(words())


def test_extra_arguments_come_last():
    assert words(extraArgs="--reasoning_parser qwen3")[-2:] == ["--reasoning_parser", "qwen3"]


#: As the command line of some release between 1.2 and 1.4 spells what the program sets.
OURS = [
    ("--port 9000", "port"),
    ("--port=9000", "port"),
    ("--host 0.0.0.0", "head's address"),
    ("--tp_size 1", "tensorParallel"),
    ("--tp-size 1", "tensorParallel"),
    ("--tensor_parallel_size=1", "tensorParallel"),
    ("--pp_size 2", "tensorParallel"),
    ("--pipeline_parallel_size 2", "tensorParallel"),
    ("--cp_size 2", "tensorParallel"),
    ("--backend tensorrt", "backend"),
    ("--max_batch_size 9", "maxBatchSize"),
    ("--max_num_tokens 9", "maxNumTokens"),
    ("--max_seq_len 9", "maxSeqLen"),
    ("--kv_cache_free_gpu_memory_fraction .5", "gpuMemoryFraction"),
    ("--free_gpu_memory_fraction=.5", "gpuMemoryFraction"),
    ("--tokenizer mine", "model"),
    ("--trust_remote_code", "trustRemoteCode"),
    ("--revision main", "revision"),
    ("--hf_revision main", "revision"),
    ("--served_model_name x", "model"),
    ("--extra_llm_api_options /x", "leave it out"),
    ("--config /x.yml", "leave it out"),
    ("--set kv_cache_config.free_gpu_memory_fraction=0.5", "gpuMemoryFraction"),
    ("--set=kv_cache_config={}", "gpuMemoryFraction"),
    ("--set tensor_parallel_size=1", "tensorParallel"),
    ("--set cuda_graph_config=null", "cudaGraphPadding"),
    ("--set disable_overlap_scheduler=true", "disableOverlapScheduler"),
]


@pytest.mark.parametrize(("extra", "instead"), OURS)
def test_what_the_program_sets_itself_is_refused_with_the_key_to_use(extra, instead):
    for place in (extra, f"--reasoning_parser qwen3 {extra}"):
        with pytest.raises(ConfigError) as caught:
            load(raw(extraArgs=place))
        assert ":extraArgs: found" in str(caught.value)
        option = extra.split()[0].partition("=")[0]
        assert instead in str(caught.value)
        assert option in str(caught.value) or option == "--set"


@pytest.mark.parametrize(
    "extra",
    [
        "--reasoning_parser qwen3",
        "--ep_size 2",
        "--log_level debug",
        "--set kv_cache_config.dtype=fp8",
        "--num_postprocess_workers=4",
        "--tool_parser port",
        "--enable_chunked_prefill",
    ],
)
def test_other_options_of_the_engine_are_passed_on(extra):
    assert words(extraArgs=extra)[-len(extra.split()) :] == extra.split()


def test_every_option_on_our_command_line_is_one_that_extra_args_may_not_repeat():
    said = [*words(tensorParallel=1, maxSeqLen=4096, trustRemoteCode=True), "--tokenizer"]
    assert {word[2:] for word in said if word.startswith("--")} <= set(engine_options.OPTIONS)


def test_every_second_name_of_such_an_option_is_known():
    for option in OPTIONS:
        names = {option.name, *(name for _, name in option.aliases)}
        assert names <= set(engine_options.OPTIONS) or names.isdisjoint(engine_options.OPTIONS)


def test_every_key_of_our_options_file_is_one_that_set_may_not_replace():
    known = {name.partition(".")[0] for name in (*engine_options.OPTIONS, *engine_options.PATHS)}
    assert set(json.loads(engine.options_file(resolve()))) <= known


def test_options_file_is_json_and_yaml_with_sorted_keys():
    text = engine.options_file(resolve(gpuMemoryFraction=0.5, disableOverlapScheduler=True))
    options = yaml.safe_load(text)
    assert options == json.loads(text)
    assert list(options) == sorted(options)
    assert options["kv_cache_config"] == {"free_gpu_memory_fraction": 0.5}
    assert options["disable_overlap_scheduler"] is True


def test_no_fact_stands_in_both_places():
    """The file silently beats the command line, so what is on the line must not be in the file."""
    options = json.loads(engine.options_file(resolve()))
    assert set(options).isdisjoint({"max_batch_size", "max_num_tokens", "tensor_parallel_size", "backend"})


def test_a_switch_of_model_changes_the_options_only_where_they_differ():
    same = {engine.options_file(resolve(model=m)) for m in ("openai/gpt-oss-120b", "microsoft/phi-4")}
    assert len(same) == 1


def test_statistics_of_iterations_can_be_turned_off():
    """How many are kept (max_stats_len) is the engine's own 1000; iter_stats_max_iterations bounds none."""
    on, off = (
        json.loads(engine.options_file(engine.resolve(samples.settings(2, **asked))))
        for asked in ({}, {"iterationStats": False})
    )
    assert on.pop("enable_iter_perf_stats") is True
    assert on == off


def test_the_tokenizer_is_loaded_from_the_snapshot_and_the_model_keeps_its_id():
    snapshot = snapshot_folder("openai/gpt-oss-120b", samples.COMMIT)
    assert snapshot == (
        f"/root/.cache/huggingface/hub/models--openai--gpt-oss-120b/snapshots/{samples.COMMIT}"
    )
    said = engine.serve_command(resolve(), LISTEN, "/opt/options.yml", snapshot)
    assert said[:2] == ["trtllm-serve", "openai/gpt-oss-120b"]
    assert said[said.index("--tokenizer") + 1] == snapshot
    assert "--served_model_name" not in said  # unknown before 1.3.0rc6
    assert "--tokenizer" not in words()


def test_the_context_is_on_the_line_where_it_is_decided():
    assert "--max_seq_len" not in words()
    said = words(maxSeqLen=4096)
    assert said[said.index("--max_seq_len") + 1] == "4096"


@pytest.mark.parametrize(
    ("count", "changes", "written"),
    [
        (1, {}, True),
        (2, {}, False),
        (2, {"headOnly": True}, True),
        (1, {"disableOverlapScheduler": False}, False),
        (2, {"disableOverlapScheduler": True}, True),
    ],
)
def test_the_overlap_scheduler_is_off_on_one_node(count, changes, written):
    """NVIDIA's playbooks for one and two Sparks."""
    assert json.loads(engine.options_file(resolve(count, **changes)))["disable_overlap_scheduler"] is written


@pytest.mark.parametrize(
    ("extra", "level"),
    [
        ("", "INFO"),
        ("--log_level debug", "DEBUG"),
        ("--log_level=warning --log_level error", "ERROR"),
        ("--log_level", "INFO"),
        ("--log_level loud", "INFO"),
    ],
)
def test_every_rank_has_the_log_level_of_the_server(extra, level):
    assert engine.environment(resolve(extraArgs=extra)) == {"TLLM_LOG_LEVEL": level}
