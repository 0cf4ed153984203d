"""The lab's models: tensors of the published sizes, whole shards, bytes that do not depend on the reader."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import models
from lab.hub import configs, shards, tensors
from lab.hub.content import BLOCK, Altered, Hollow, Made, NoBody, git_blob, sha256

PUBLISHED = {
    "GPT_OSS_120B": 65_248_815_744,
    "GPT_OSS_20B": 13_761_264_768,
    "QWEN2_5_7B": 15_231_233_024,
    "QWEN2_5_14B": 29_540_067_328,
    "QWEN2_5_72B": 145_412_407_296,
    "LLAMA_3_1_8B": 16_060_522_496,
    "MIXTRAL_8X7B": 93_405_585_408,
}
"""total_size of the models' model.safetensors.index.json on the Hub, bytes."""
EVERY = (*models.MODELS, *models.ON_THE_HUB)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_tensors_add_up_to_the_published_size(name):
    assert tensors.total(tensors.of(getattr(configs, name))) == PUBLISHED[name]


def test_nvfp4_adds_up_to_the_size_in_the_catalog():
    size = tensors.total(tensors.of(configs.QWEN3_235B_A22B_FP4))
    assert round(size / 1e9) == 134


def test_four_bits_are_packed():
    found = {t.name: t for t in tensors.of(configs.GPT_OSS_120B)}
    prefix = "model.layers.0.mlp.experts.gate_up_proj"
    assert found[f"{prefix}_blocks"] == tensors.Tensor(f"{prefix}_blocks", "U8", (128, 5760, 90, 16))
    assert found[f"{prefix}_scales"].shape == (128, 5760, 90)
    found = {t.name: t for t in tensors.of(configs.QWEN3_8B_FP4)}
    prefix = "model.layers.0.self_attn.q_proj.weight"
    assert (found[prefix].dtype, found[prefix].shape) == ("U8", (4096, 2048))
    assert (found[f"{prefix}_scale"].dtype, found[f"{prefix}_scale"].shape) == ("F8_E4M3", (4096, 256))


def test_fp8_has_a_scale_for_a_square():
    found = {t.name: t for t in tensors.of(configs.DEEPSEEK_V3)}
    prefix = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
    assert (found[prefix].dtype, found[prefix].shape) == ("F8_E4M3", (576, 7168))
    assert found[f"{prefix}_scale_inv"].shape == (5, 56)


@settings(deadline=None, max_examples=20)
@given(st.integers(16 << 20, 1 << 30))  # below, one step more is twice the size
def test_a_size_that_was_asked_for_is_about_what_one_gets(target):
    size = tensors.total(tensors.of(tensors.resized(configs.QWEN2_5_7B, target)))
    assert 0.5 * target < size <= target


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.name)
def test_shards_cover_their_tensors(model):
    files = models.files(model)
    index = json.loads(files["model.safetensors.index.json"].read(0, 1 << 30)) if model.shards > 1 else None
    seen = set()
    total = 0
    for name, content in files.items():
        if name.endswith(".safetensors") and "/" not in name:
            length = int.from_bytes(content.read(0, 8), "little")
            header = json.loads(content.read(8, length))
            header.pop("__metadata__")
            end = 0
            for tensor in header.values():
                assert tensor["data_offsets"][0] == end
                end = tensor["data_offsets"][1]
            assert content.size == 8 + length + end
            seen |= set(header)
            total += end
    if index and not model.missing:
        assert set(index["weight_map"]) == seen
        assert len(set(index["weight_map"].values())) == model.shards
        assert index["metadata"]["total_size"] == total


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 3 * BLOCK), st.integers(0, 3 * BLOCK), st.integers(0, 1 << 40))
def test_any_part_is_a_part_of_the_whole(offset, length, seed):
    made = Made(b"head" * 5, 2 * BLOCK + 777, seed)
    whole = made.read(0, made.size)
    assert len(whole) == made.size
    assert made.read(offset, length) == whole[offset : offset + length]


def test_no_two_blocks_are_equal():
    made = Made(b"", 40 << 20, 3)
    blocks = {made.read(place, BLOCK) for place in range(0, made.size, BLOCK)}
    assert len(blocks) == made.size // BLOCK
    assert made.read(0, BLOCK) != Made(b"", 40 << 20, 4).read(0, BLOCK)


def test_a_checksum_is_right_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Made(b"x", 9 << 20, 99)
    right = hashlib.sha256(made.read(0, made.size)).hexdigest()
    assert sha256(made) == right
    sha256.cache_clear()
    assert sha256(made) == right
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == [right]


def test_an_altered_file_differs_in_one_bit():
    true = Made(b"", 1000, 1)
    altered = Altered(true, 500)
    differing = [i for i in range(1000) if altered.read(i, 1) != true.read(i, 1)]
    assert differing == [500]
    assert altered.read(400, 200) == altered.read(0, 1000)[400:600]


def test_a_hollow_file_has_its_head_only():
    hollow = Hollow(b"head", 10 << 30)
    assert hollow.read(0, 6) == b"head\0\0"
    with pytest.raises(NoBody):
        hollow.read(0, 2 << 20)


def test_git_knows_the_blob():
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_commits_differ_by_model_and_revision():
    ids = {models.commit(model) for model in EVERY}
    assert len(ids) == len(EVERY)
    model = models.find("Qwen/Qwen2.5-14B-Instruct")
    assert models.commit(model, "v1.0") != models.commit(model)


def test_bulk_models_are_of_the_size_in_their_name():
    model = models.find("lab/bulk-3x16M")
    sizes = [c.size for n, c in models.files(model).items() if n.endswith(".safetensors")]
    assert len(sizes) == 3
    assert 0.7 * (48 << 20) < sum(sizes) < 1.05 * (48 << 20)
    assert models.find("lab/bulk-0x16M") is None
    assert models.find("lab/none") is None


def test_shards_count_from_zero_where_the_real_ones_do():
    cut = shards.cut(tensors.of(tensors.resized(configs.GPT_OSS_20B, 0)), 2, first=0)
    assert [shard.name for shard in cut] == [
        "model-00000-of-00001.safetensors",
        "model-00001-of-00001.safetensors",
    ]
