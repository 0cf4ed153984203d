"""Which files of a repository are fetched."""

from __future__ import annotations

import pytest

from cluster.errors import PlanError
from cluster.hub_files import needed
from cluster.weights_plan import ModelFile

GPT_OSS = """
.gitattributes LICENSE README.md USAGE_POLICY chat_template.jinja config.json generation_config.json
metal/model.bin model-00000-of-00001.safetensors model-00001-of-00001.safetensors model.safetensors.index.json
original/config.json original/dtypes.json original/model--00001-of-00007.safetensors special_tokens_map.json
tokenizer.json tokenizer_config.json
"""


def chosen(listing: str, trust: bool = False) -> list[str]:
    files = [ModelFile(path, 1, "", lfs=False) for path in listing.split()]
    return [file.path for file in needed("org/model", files, trust)]


def test_gpt_oss_without_its_two_other_copies():
    assert chosen(GPT_OSS) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model-00000-of-00001.safetensors",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_other_forms_of_the_same_weights_are_left_out():
    listing = """config.json model.safetensors pytorch_model.bin model.gguf onnx/model.onnx
    consolidated.00.pth tf_model.h5 flax_model.msgpack consolidated.safetensors params.json"""
    assert chosen(listing) == ["config.json", "model.safetensors", "params.json"]


def test_a_consolidated_file_alone_is_the_model():
    """As the engine's loader takes it."""
    assert chosen("config.json consolidated.safetensors") == ["config.json", "consolidated.safetensors"]


def test_tokenizers_of_every_kind_and_what_a_model_that_sees_needs():
    listing = """config.json model.safetensors tokenizer.model merges.txt vocab.json tekken.json
    qwen.tiktoken preprocessor_config.json processor_config.json hf_quant_config.json image.png"""
    assert "image.png" not in chosen(listing)
    assert len(chosen(listing)) == 10


def test_code_only_when_it_is_trusted():
    listing = "config.json model.safetensors modeling_x.py pkg/layers.py"
    assert chosen(listing) == ["config.json", "model.safetensors"]
    assert chosen(listing, trust=True) == [
        "config.json",
        "model.safetensors",
        "modeling_x.py",
        "pkg/layers.py",
    ]


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ("config.json pytorch_model.bin", r"pickled \.bin files only"),
        ("config.json model-q4.gguf", r"as \.gguf only"),
        ("model_index.json unet/model.safetensors", "in folders only"),
        ("config.json README.md", "org/model has no weights, and"),
        ("model.safetensors", "org/model has no config.json"),
    ],
)
def test_what_the_engine_cannot_load_is_refused(listing, said):
    with pytest.raises(PlanError, match=said):
        chosen(listing)
