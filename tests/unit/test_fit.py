"""Memory fit, against published numbers and another estimator."""

from __future__ import annotations

import dataclasses

import pytest
from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size
from hf_mem.safetensors.metadata import parse_safetensors_metadata
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import fit
from cluster.fit import kv, verdict, weights
from cluster.fit.constants import GIB
from cluster.fit.verdict import Load, Memory, Model
from cluster.model_config import shape
from tests.checkpoints import config, nvfp4, tensors

SPARK = Memory("spark-1", int(119.7 * GIB))
PLAIN = (
    "gpt-oss-120b",
    "gpt-oss-20b",
    "Llama-3.1-8B-Instruct",
    "Llama-3.1-70B-Instruct",
    "Qwen2.5-7B-Instruct",
    "Qwen2.5-72B-Instruct",
    "Qwen3-235B-A22B",
    "Mixtral-8x7B-Instruct-v0.1",
    "Mistral-Nemo-Instruct-2407",
    "phi-4",
)


def model(name: str) -> Model:
    return Model(shape(config(name)), tensors(config(name)))


def load(ranks: int = 1, tokens: int = 8192, batch: int = 4, **more) -> Load:
    return Load(ranks, 1, tokens, batch, 0.9, **more)


@pytest.mark.parametrize(
    ("name", "published"),
    [  # `total_size` of the checkpoints' index files, bytes; parameters x 2 where BF16
        ("gpt-oss-120b", 65_248_815_744),
        ("Llama-3.1-8B-Instruct", 16_060_522_496),
        ("Llama-3.1-70B-Instruct", 141_107_412_992),
        ("Qwen2.5-7B-Instruct", 15_231_233_024),
        ("Qwen3-235B-A22B", 470_187_269_120),
        ("Mixtral-8x7B-Instruct-v0.1", 93_405_585_408),
        ("Mistral-Nemo-Instruct-2407", 24_495_564_800),
        ("phi-4", 29_319_014_400),
    ],
)
def test_the_checkpoints_of_these_tests_have_the_published_size(name, published):
    assert model(name).bytes == pytest.approx(published, rel=1e-4)


def test_gpt_oss_120b_on_one_spark_as_logged():
    """GB10 log: weights 63.32 GiB, 0.85 GiB during inference, KV cache 5.95 GiB of 73728 bytes a token."""
    found = fit.estimate(model("gpt-oss-120b"), load(batch=64), SPARK)
    assert found.weights / GIB == pytest.approx(63.32, abs=0.05)
    assert 0.85 <= found.activations / GIB < 0.85 * 1.5
    assert kv.token_bytes(model("gpt-oss-120b").shape) == 73728
    assert found.worst_pool / GIB == pytest.approx(5.95, abs=0.01)
    assert found.worst_pool < found.pool


def test_llama_70b_on_two_sparks_as_reported():
    """A user's report: about 66 GiB a rank."""
    found = fit.estimate(model("Llama-3.1-70B-Instruct"), load(2, 32768), SPARK)
    assert found.weights / GIB == pytest.approx(66, abs=0.5)
    assert found.word in ("fits", "tight")


def test_qwen3_235b_fp4_needs_two_sparks():
    packed_config = nvfp4(config("Qwen3-235B-A22B"))
    packed = Model(shape(packed_config), tensors(packed_config))
    assert packed.bytes / 1e9 == pytest.approx(134, rel=0.02)  # the catalog's, from the model card
    assert fit.estimate(packed, load(1, 32768), SPARK).word == "does not fit"
    assert fit.estimate(packed, load(2, 32768), SPARK).word != "does not fit"
    assert fit.fewest_nodes(packed, load(1, 32768), SPARK) == 2


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("gpt-oss-20b", 1),
        ("Qwen2.5-7B-Instruct", 1),
        ("phi-4", 1),
        ("Llama-3.1-70B-Instruct", 2),
        ("Qwen2.5-72B-Instruct", 2),
    ],
)
def test_fewest_nodes(name, nodes):
    assert fit.fewest_nodes(model(name), load(), SPARK) == nodes


def test_counts_that_do_not_divide_the_heads_are_left_out():
    """Three nodes would hold it, and cannot share 28 heads."""
    found, small = model("Qwen2.5-7B-Instruct"), Memory("small", int(11.5 * GIB))
    asked = load(tokens=64, batch=1)
    words = {ranks: fit.estimate(found, load(ranks, 64, 1), small).word for ranks in (2, 3)}
    assert words == {2: "does not fit", 3: "fits"}
    assert fit.fewest_nodes(found, asked, small) == 4


def test_the_largest_values_are_the_largest():
    found, one = model("Qwen2.5-72B-Instruct"), load(2, 32768, 64)
    assert fit.estimate(found, one, SPARK).word == "tight"
    tokens, batch = fit.most_tokens(found, one, SPARK), fit.most_requests(found, one, SPARK)
    assert tokens
    assert batch
    for good, bad in (
        (
            dataclasses.replace(one, max_num_tokens=tokens),
            dataclasses.replace(one, max_num_tokens=tokens + 64),
        ),
        (dataclasses.replace(one, max_batch_size=batch), dataclasses.replace(one, max_batch_size=batch + 1)),
    ):
        assert fit.estimate(found, good, SPARK).word == "fits"
        assert fit.estimate(found, bad, SPARK).word != "fits"


def test_advice_names_all_ways():
    found = model("Qwen2.5-72B-Instruct")
    said = fit.advice(found, fit.estimate(found, load(1), SPARK))
    assert said == "What would fit: 2 nodes like this one."
    said = fit.advice(found, fit.estimate(found, load(2, 32768, 64), SPARK))
    assert "maxNumTokens up to" in said
    assert "maxBatchSize up to" in said
    hopeless = Memory("small", 5 * GIB)
    assert fit.advice(found, fit.estimate(found, load(1), hopeless)).startswith("A smaller")


def test_the_fullest_node_decides():
    small = Memory("spark-2", 64 * GIB)
    assert fit.worst(model("gpt-oss-20b"), load(2), [SPARK, small]).memory is small


def test_others_on_the_node_count():
    busy = dataclasses.replace(SPARK, others=60 * GIB)
    assert fit.estimate(model("gpt-oss-120b"), load(), SPARK).word == "fits"
    assert fit.estimate(model("gpt-oss-120b"), load(), busy).word == "does not fit"


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("tokens", [32, 8192, 131072])
def test_kv_cache_as_hf_mem_computes_it(name, tokens):
    """hf-mem: the same numbers wherever it knows the architecture; it, too, counts hybrids in full."""
    ours = kv.request_bytes(shape(config(name)).without_windows(), tokens, 1, 1)
    assert ours == compute_safetensors_kv_cache_size(config(name), "BF16", tokens)


def test_a_window_everywhere_as_hf_mem_computes_it():
    found = {**config("Mistral-7B-v0.1"), "layer_types": ["sliding_attention"] * 32}
    assert kv.request_bytes(shape(found), 32768, 1, 1) == compute_safetensors_kv_cache_size(
        found, "BF16", 32768
    )


@pytest.mark.parametrize("name", ["Llama-3.1-8B-Instruct", "Mixtral-8x7B-Instruct-v0.1", "Qwen3-235B-A22B"])
def test_weights_as_hf_mem_sums_them(name):
    header = {key: {"dtype": "BF16", "shape": [size // 2]} for key, size in tensors(config(name)).items()}
    theirs = parse_safetensors_metadata({"model.safetensors": header}).bytes_count
    found = model(name)
    assert weights.per_rank(found.tensors, found.shape, 1, 1) == theirs


def test_latent_attention_is_kept_once_and_whole_on_every_rank():
    found = shape(config("DeepSeek-V3"))
    assert kv.token_bytes(found, 1) == kv.token_bytes(found, 8) == 61 * 576 * 2


def test_a_rank_keeps_one_head_at_least():
    found = shape(config("Qwen2.5-7B-Instruct"))
    assert kv.token_bytes(found, 4) == kv.token_bytes(found, 1) // 4
    assert kv.token_bytes(found, 8) == kv.token_bytes(found, 4)
    held = {"model.layers.0.self_attn.k_proj.weight": 4000}
    assert weights.per_rank(held, found, 8, 1) == 1000


def test_states_are_per_request_and_not_per_token():
    found = shape(config("Nemotron-H-8B-Base-8K"))
    short, long = (kv.request_bytes(found, tokens, 1, 1) for tokens in (32, 64))
    assert long - short == 32 * 4 * 2 * 8 * 128 * 2


def test_windows_bound_the_cache_where_they_are_kept():
    found = shape(config("gemma-3-27b-it"))
    full = 2 * 16 * 128 * 2
    assert kv.request_bytes(found, 131072, 1, 1) == full * (10 * 131072 + 52 * 1024)


def test_what_is_whole_on_every_rank():
    found = shape(config("Llama-3.1-8B-Instruct"))
    whole = {"model.layers.0.input_layernorm.weight": 8192, "model.layers.0.mlp.gate.weight": 100}
    assert weights.per_rank(whole, found, 4, 1) == 8292
    latent = shape(config("DeepSeek-V3"))
    held = {"model.embed_tokens.weight": 1000, "model.layers.0.self_attn.kv_a_proj_with_mqa.weight": 10}
    assert weights.per_rank(held, latent, 4, 1) == 1010
    split = {"model.embed_tokens.weight": 1000, "model.layers.0.mlp.gate_proj.weight": 1000}
    assert weights.per_rank(split, found, 4, 1) == 500


def test_mxfp4_is_padded_on_each_rank():
    """1440 of 2880 columns are 12 x 128, so a half is more than half of the whole."""
    found = model("gpt-oss-120b")
    one, two = (weights.per_rank(found.tensors, found.shape, ranks, 1) for ranks in (1, 2))
    assert two > one / 2 * 1.03


def test_pipeline_stages_take_runs_of_layers():
    found = shape({**config("Llama-3.1-8B-Instruct"), "num_hidden_layers": 5})
    held = {f"model.layers.{i}.mlp.up_proj.weight": 100 for i in range(5)}
    held |= {"model.embed_tokens.weight": 50, "lm_head.weight": 70, "model.norm.weight": 1}
    assert weights.per_rank(held, found, 1, 2) == max(3 * 100 + 50, 2 * 100 + 71)


def test_collapsed_names_weigh_the_same():
    found = model("Mixtral-8x7B-Instruct-v0.1")
    short = fit.collapse(found.tensors)
    assert len(short) < len(found.tensors) / 2
    for ranks in (1, 2, 4):
        assert weights.per_rank(short, found.shape, ranks, 1) == weights.per_rank(
            found.tensors, found.shape, ranks, 1
        )


def test_graph_sizes_as_logged():
    assert verdict.graph_sizes(64, True) == [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64]
    assert verdict.graph_sizes(6, True) == [1, 2, 4, 6]
    assert verdict.graph_sizes(3, False) == [1, 2, 3]


WORDS = ["fits", "tight", "does not fit"]
SOME = {name: model(name) for name in PLAIN[:6]}
loads = st.builds(
    Load,
    st.sampled_from([1, 2, 4]),
    st.just(1),
    st.integers(64, 200_000),
    st.integers(1, 256),
    st.floats(0.1, 0.95),
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(SOME)), loads, st.integers(1, 100_000), st.integers(1, 64), st.integers(8, 200))
def test_more_tokens_or_requests_or_less_memory_never_fit_better(name, one, tokens, batch, gib):
    found, memory = SOME[name], Memory("node", gib * GIB)
    before = WORDS.index(fit.estimate(found, one, memory).word)
    more = dataclasses.replace(one, max_num_tokens=one.max_num_tokens + tokens)
    assert WORDS.index(fit.estimate(found, more, memory).word) >= before
    more = dataclasses.replace(one, max_batch_size=one.max_batch_size + batch)
    assert WORDS.index(fit.estimate(found, more, memory).word) >= before
    assert WORDS.index(fit.estimate(found, one, dataclasses.replace(memory, total=4 * GIB)).word) >= before


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(SOME)), loads)
def test_more_ranks_hold_less_each(name, one):
    found = SOME[name]
    few, many = (dataclasses.replace(one, tensor=ranks) for ranks in (2, 4))
    a, b = fit.estimate(found, few, SPARK), fit.estimate(found, many, SPARK)
    assert b.weights <= a.weights
    assert b.request <= a.request
    assert b.activations <= a.activations
    assert WORDS.index(b.word) <= WORDS.index(a.word)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SOME)), loads)
def test_advice_is_true(name, one):
    found = SOME[name]
    if tokens := fit.most_tokens(found, one, SPARK):
        assert fit.estimate(found, dataclasses.replace(one, max_num_tokens=tokens), SPARK).word == "fits"
    if batch := fit.most_requests(found, one, SPARK):
        assert fit.estimate(found, dataclasses.replace(one, max_batch_size=batch), SPARK).word == "fits"


def test_the_context_of_gpt_oss_120b_on_one_spark_is_what_the_engine_reduced_it_to():
    """GB10 log: `Attention window size 131072 exceeds upper bound 86720`. 1.4 exits instead."""
    held = fit.context(model("gpt-oss-120b"), load(batch=64), [SPARK])
    assert held == 86016
    assert 86720 - held < verdict.CONTEXT_STEP


@pytest.mark.parametrize(
    ("name", "ranks"), [("gpt-oss-120b", 2), ("gpt-oss-20b", 1), ("Qwen2.5-7B-Instruct", 1), ("phi-4", 1)]
)
def test_a_context_that_fits_is_the_models_own(name, ranks):
    here = model(name)
    assert fit.context(here, load(ranks), [SPARK] * ranks) == here.shape.max_positions


def test_a_context_is_never_longer_than_the_models_nor_shorter_than_a_prompt():
    here, small = model("Llama-3.1-70B-Instruct"), Memory("small", int(72 * GIB))
    found = fit.estimate(here, load(2, 32768), small)
    assert found.request > found.worst_pool  # the engine may shorten it: the verdict has told
    assert fit.context(here, load(2, 32768), [small]) == 32768
    assert fit.context(model("phi-4"), load(tokens=32768), [SPARK]) == 16384


def test_the_context_is_that_of_the_node_with_the_least_room():
    small = Memory("small", int(72 * GIB))
    one, other = (fit.context(model("gpt-oss-120b"), load(), [node]) for node in (SPARK, small))
    assert other < one
    assert fit.context(model("gpt-oss-120b"), load(), [SPARK, small]) == other


def test_a_context_that_was_asked_for_is_taken_and_judged():
    here = model("gpt-oss-120b")
    asked = load(max_seq_len=131072)
    assert fit.context(here, asked, [SPARK]) == 131072
    short, long = (fit.estimate(here, one, SPARK) for one in (load(), asked))
    assert (short.word, long.word) == ("fits", "tight")
    assert long.request == kv.request_bytes(here.shape.without_windows(), 131072, 1, 1)
    assert "maxSeqLen up to " in fit.advice(here, long)
    most = verdict.most_context(here, asked, SPARK)
    assert fit.estimate(here, dataclasses.replace(asked, max_seq_len=most), SPARK).word == "fits"
    assert fit.estimate(here, dataclasses.replace(asked, max_seq_len=most + 64), SPARK).word == "tight"


def test_where_the_model_does_not_tell_its_context_the_engine_chooses():
    silent = model("phi-4")
    silent = dataclasses.replace(silent, shape=dataclasses.replace(silent.shape, max_positions=0))
    assert fit.context(silent, load(), [SPARK]) is None
