"""The lab's models: layout, determinism, and files that the real libraries would take."""

import hashlib
import json
import time

import pytest

from lab import models
from lab.engine.tensorrt_llm import checkpoint
from lab.engine.tensorrt_llm.serve import harmony
from lab.hub import content


def folder_of(hf_home, name):
    return next((hf_home / f"hub/models--{name.replace('/', '--')}/snapshots").iterdir())


def test_the_layout_is_the_hubs(hf_home, snapshot):
    folder = snapshot.parent.parent
    assert (folder / "refs/main").read_text() == snapshot.name
    for link in snapshot.iterdir():
        assert link.is_symlink()
        blob = link.resolve()
        assert blob.parent == folder / "blobs"
        data = blob.read_bytes()
        in_lfs = models.in_lfs(link.name)
        assert blob.name == (hashlib.sha256(data).hexdigest() if in_lfs else content.git_blob(data))


def test_the_same_everywhere_and_fast_the_second_time(hf_home, tmp_path):
    models.write(tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == sorted(str(path.relative_to(hf_home)) for path in hf_home.rglob("*"))
    begun = time.monotonic()
    models.write(tmp_path)
    assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize("model", models.MODELS, ids=lambda model: model.name)
def test_shards_fit_their_index(hf_home, model):
    folder = folder_of(hf_home, model.name)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    if model.missing:
        with pytest.raises(AssertionError):
            checkpoint.load_weights(folder)
    else:
        assert checkpoint.load_weights(folder) == (model.shards, len(index))
        assert {
            name for shard in set(index.values()) for name in checkpoint.read_shard(folder / shard)
        } == set(index)


def test_what_the_engine_shall_do(hf_home):
    fails = {model.name: checkpoint.behaviour(folder_of(hf_home, model.name)).fail for model in models.MODELS}
    assert fails["openai/gpt-oss-120b"] is None
    assert fails["lab/never-ready"] == "never_ready"
    assert checkpoint.behaviour(folder_of(hf_home, "openai/gpt-oss-20b")).tokens_per_second == 120.0


def test_the_vocabularies_are_those_that_the_engine_takes(hf_home, monkeypatch):
    assert {n: hashlib.sha256(c).hexdigest() for n, c in models.encodings().items()} == harmony.CHECKSUMS
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(hf_home / "tiktoken-encodings"))
    harmony.load_vocabularies()


def test_other_vocabularies_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("TIKTOKEN_ENCODINGS_BASE", raising=False)
    with pytest.raises(harmony.Refused, match="failed to download"):
        harmony.load_vocabularies()
    for name in harmony.CHECKSUMS:
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    with pytest.raises(harmony.Refused, match="checksum"):
        harmony.load_vocabularies()
