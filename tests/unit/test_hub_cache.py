"""What a cache folder holds of a model, and whether it is whole."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from remote.node import hub_cache

MODEL = "openai/gpt-oss-20b"
COMMIT = "b5c939de8f754692c1647ca79fbf85e8c1e70f8a"


class Cache:
    """A Hugging Face cache with one model of two shards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = root / "hub" / ("models--" + MODEL.replace("/", "--"))
        self.snapshot = self.model / "snapshots" / COMMIT
        self.put("refs/main", COMMIT.encode())
        self.file("config.json", b"{}")
        for number in (1, 2):
            self.file(f"model-{number}.safetensors", self.shard(100 * number))
        index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        self.file("model.safetensors.index.json", json.dumps(index).encode())

    @staticmethod
    def shard(size: int) -> bytes:
        """A safetensors file with one tensor of `size` bytes."""
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        header = json.dumps({"__metadata__": {"format": "pt"}, "t": tensor}).encode()
        return struct.pack("<Q", len(header)) + header + bytes(size)

    def put(self, path: str, data: bytes) -> Path:
        place = self.model / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def file(self, name: str, data: bytes) -> None:
        """A blob, and the link to it in the snapshot, as the Hub's client leaves them."""
        blob = self.put(f"blobs/blob-of-{name}", data)
        link = self.snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))

    def look(self, model: str = MODEL) -> dict[str, Any]:
        found: dict[str, Any] = hub_cache.look({"hf_cache": str(self.root), "model": model})
        return found


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "hf")


def test_a_whole_model(cache):
    found = cache.look()
    assert (found["commit"], found["problems"], found["models"]) == (COMMIT, [], [MODEL])
    assert found["files"]["model-1.safetensors"] == len(Cache.shard(100))
    assert found["tiktoken"] is False


def test_a_single_file_without_an_index(cache):
    (cache.snapshot / "model.safetensors.index.json").unlink()
    assert cache.look()["problems"] == []


def test_a_missing_shard(cache):
    (cache.snapshot / "model-2.safetensors").unlink()
    assert cache.look()["problems"] == ["model-2.safetensors is missing"]


def test_a_truncated_shard(cache):
    whole = Cache.shard(100)
    cache.file("model-1.safetensors", whole[:-40])
    assert cache.look()["problems"] == [f"model-1.safetensors has {len(whole) - 40} bytes of {len(whole)}"]


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 4) + b"nope"])
def test_a_shard_that_is_no_shard(cache, data):
    cache.file("model-1.safetensors", data)
    assert cache.look()["problems"] == [f"model-1.safetensors has {len(data)} bytes of unknown"]


def test_a_link_to_nothing(cache):
    (cache.model / "blobs" / "blob-of-config.json").unlink()
    problems = cache.look()["problems"]
    assert "config.json is a link to nothing" in problems
    assert "config.json is missing" in problems


def test_weights_in_other_formats_only(cache):
    for entry in cache.snapshot.glob("*safetensors*"):
        entry.unlink()
    assert cache.look()["problems"] == ["no safetensors files"]


def test_no_refs_means_the_model_is_not_there(cache):
    (cache.model / "refs" / "main").unlink()
    found = cache.look()
    assert (found["commit"], found["models"]) == (None, [MODEL])


def test_another_model_and_no_cache_at_all(cache, tmp_path):
    assert cache.look("Qwen/Qwen3-8B")["commit"] is None
    nothing = hub_cache.look({"hf_cache": str(tmp_path / "nothing"), "model": MODEL})
    assert (nothing["commit"], nothing["models"]) == (None, [])


def test_vocabularies(cache):
    for name in hub_cache.TIKTOKEN:
        place = cache.root / "tiktoken-encodings" / name
        place.parent.mkdir(exist_ok=True)
        place.touch()
    assert cache.look()["tiktoken"] is True


def test_the_models_config_comes_along_unless_it_is_absurd(cache):
    cache.file("config.json", b'{"num_attention_heads": 64}')
    assert cache.look()["config"] == '{"num_attention_heads": 64}'
    cache.file("config.json", b"x" * (hub_cache.MAX_CONFIG + 1))
    assert cache.look()["config"] == ""
