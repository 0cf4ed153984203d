"""The shipped shapes are the published ones: their tensors have the checkpoint's size on the Hub."""

from __future__ import annotations

import pytest

from cluster import fit, published
from cluster.catalog import CATALOG
from cluster.published import layouts

#: Bytes of all tensors, by the index files on the Hub.
TOTALS = {
    "openai/gpt-oss-120b": 65_248_815_744,
    "openai/gpt-oss-20b": 13_761_264_768,
    "Qwen/Qwen2.5-7B-Instruct": 15_231_233_024,
    "Qwen/Qwen2.5-14B-Instruct": 29_540_067_328,
    "Qwen/Qwen2.5-32B-Instruct": 65_527_752_704,
    "Qwen/Qwen2.5-72B-Instruct": 145_412_407_296,
    "meta-llama/Llama-3.1-8B-Instruct": 16_060_522_496,
    "meta-llama/Llama-3.1-70B-Instruct": 141_107_412_992,
    "google/gemma-2-27b-it": 54_454_256_640,
}


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.id)
def test_a_shape_has_the_size_of_its_checkpoint(entry):
    found = published.model(entry.id)
    if found is None:
        assert "Llama-4" in entry.id  # its fused experts have a layout that is not written down here
        return
    assert found.bytes / 1e9 == pytest.approx(entry.size_gb, abs=0.8, rel=0.01)
    assert found.shape.architecture


def test_other_models_have_none():
    assert published.model("lab/unknown") is None


@pytest.mark.parametrize("model", TOTALS)
def test_to_a_thousandth_where_the_index_says_it(model):
    found = published.model(model)
    assert found is not None
    assert found.bytes == pytest.approx(TOTALS[model], rel=1e-3)


@pytest.mark.parametrize("model", CATALOG, ids=lambda entry: entry.id)
def test_sizes_are_those_of_every_single_tensor(model):
    """`sizes` lays one layer and one expert out; `of` all of them."""
    name = published._CONFIGS.get(model.id)
    if name is None:
        return
    config = published.config(name)
    config = {**config, "num_hidden_layers": min(5, config["num_hidden_layers"])}
    one_by_one = {tensor.name: tensor.size for tensor in layouts.of(config)}
    assert layouts.sizes(config) == fit.collapse(one_by_one)
