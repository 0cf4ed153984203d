"""What the engine is told: whose value counts, the options file, the command line."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
import yaml

from cluster import engine
from tests import samples

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
        ({"model": "microsoft/phi-4"}, 16, 16384, 0.90, True),
        ({"model": "somebody/else"}, 4, 32768, 0.90, False),
        ({"model": "microsoft/phi-4", "trustRemoteCode": False}, 16, 16384, 0.90, False),
        (
            {"model": "microsoft/phi-4", "maxBatchSize": 1, "maxNumTokens": 64, "gpuMemoryFraction": 0.1},
            1,
            64,
            0.1,
            True,
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


def test_extra_arguments_come_last_so_that_they_win():
    assert words(extraArgs="--max_batch_size 9")[-2:] == ["--max_batch_size", "9"]


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
    on, off = (
        json.loads(engine.options_file(engine.resolve(samples.settings(2, **asked))))
        for asked in ({}, {"iterationStats": False})
    )
    assert on.pop("enable_iter_perf_stats") is True
    assert on.pop("iter_stats_max_iterations") == engine.KEPT_ITERATIONS
    assert on == off
