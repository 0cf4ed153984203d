"""The catalog of models."""

from __future__ import annotations

import pytest

from cluster import catalog
from tests import samples


def test_every_entry_is_a_valid_setting():
    """An entry that the configuration refuses could never be served."""
    for model in catalog.CATALOG:
        settings = samples.settings(
            2,
            model=model.id,
            maxBatchSize=model.max_batch_size,
            maxNumTokens=model.max_num_tokens,
            gpuMemoryFraction=model.gpu_memory_fraction,
        )
        assert settings.model == model.id


def test_no_entry_is_listed_twice():
    ids = [model.id.lower() for model in catalog.CATALOG]
    assert len(ids) == len(set(ids))


def test_any_other_model_gets_the_general_defaults():
    found = catalog.known("somebody/else")
    assert (found.id, found.max_batch_size, found.max_num_tokens) == ("somebody/else", 4, 32768)


@pytest.mark.parametrize(
    ("typed", "also", "first"),
    [
        ("openai/gpt-oss-120", [], "openai/gpt-oss-120b"),
        ("OpenAI/GPT-OSS-20B", [], "openai/gpt-oss-20b"),
        ("qwen/Qwen2.5-7B-Instruct", [], "Qwen/Qwen2.5-7B-Instruct"),
        ("myself/finetuned-mdl", ["myself/finetuned-model"], "myself/finetuned-model"),
    ],
)
def test_suggestions(typed, also, first):
    assert catalog.suggestions(typed, also)[0] == first


def test_no_suggestion_for_something_else_altogether_nor_for_itself():
    assert catalog.suggestions("zzz/xxx") == []
    assert catalog.suggestions("openai/gpt-oss-20b") == []
    assert catalog.suggestions("me/model-7b", ["me/model-7b", "me/model-8b"]) == []


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        ("openai/gpt-oss-120b", True),
        ("OpenAI/gpt-oss-20b", True),
        ("unsloth/gpt-oss-120b", True),
        ("RedHatAI/gpt-oss-20b-speculator", True),
        ("somebody/GPT_OSS-20B-bf16", True),
        ("microsoft/phi-4", False),
        ("gpt-oss-fans/llama", False),
    ],
)
def test_which_models_need_openais_vocabularies(model, needs):
    assert catalog.is_gpt_oss(model) is needs
    assert catalog.known(model).harmony is needs


def test_config_json_decides_where_it_is_known():
    assert catalog.is_gpt_oss("ArliAI/Derestricted", "GptOssForCausalLM")
    assert not catalog.is_gpt_oss("somebody/llama-like-gpt-oss", "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("model", "original"),
    [
        ("unsloth/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("RedHatAI/gpt-oss-20b-FP8", "openai/gpt-oss-20b"),
        ("ArliAI/Derestricted-20B", "openai/gpt-oss-20b"),
    ],
)
def test_a_derived_model_has_the_originals_defaults(model, original):
    found, theirs = catalog.known(model, "GptOssForCausalLM"), catalog.known(original)
    for name in ("max_batch_size", "max_num_tokens", "gpu_memory_fraction"):
        assert getattr(found, name) == getattr(theirs, name)
    assert found.id == model
