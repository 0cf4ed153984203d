"""What a cache folder holds of a model, and whether it is whole."""

from __future__ import annotations

import json
import os
import struct
import tempfile
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


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        b"\xff" * 64,
        *(
            struct.pack("<Q", len(header)) + header
            for header in (b"nope", b"[]", b'{"t": 1}', b'{"t": {"data_offsets": [0]}}', b"\xff\xfe{}")
        ),
    ],
)
def test_a_shard_that_is_no_shard(cache, data):
    cache.file("model-1.safetensors", data)
    assert cache.look()["problems"] == [f"model-1.safetensors has {len(data)} bytes of unknown"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("data", [b"\xff\xfe", b"[]", b'{"weight_map": [["a"]]}'])
def test_a_small_file_that_is_damaged(cache, name, data):
    cache.file(name, data)
    assert ("index.json cannot be read" in "".join(cache.look()["problems"])) == ("index" in name)
    cache.put("refs/main", data)
    assert cache.look()["commit"] is None


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


def test_the_hub_folder_itself_is_known(cache):
    assert cache.look()["flat"] is False
    inside = hub_cache.look({"hf_cache": str(cache.root / "hub"), "model": MODEL})
    assert (inside["flat"], inside["commit"]) == (True, None)


def test_a_link_to_itself_makes_a_cache_of_a_hub_folder(cache):
    (cache.root / "hub" / "hub").symlink_to(".")
    inside = hub_cache.look({"hf_cache": str(cache.root / "hub"), "model": MODEL})
    assert (inside["flat"], inside["commit"]) == (False, COMMIT)


def as_user(root: Path) -> dict[str, Any]:
    """What a user other than root finds there."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            found = hub_cache.look({"hf_cache": str(root), "model": MODEL})
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    told: dict[str, Any] = json.loads(text)
    return told


@pytest.fixture
def roots():
    """A cache that everyone may reach, and that a plain user does not own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Cache(Path(folder) / "hf")
        yield made
        made.model.chmod(0o755)


@pytest.mark.parametrize(("mode", "readable", "commit"), [(0o555, True, COMMIT), (0o000, False, None)])
def test_a_models_folder_of_root(roots, mode, readable, commit):
    roots.model.parent.chmod(0o777)
    roots.model.chmod(mode)
    found = as_user(roots.root)
    assert (found["locked"], found["readable"], found["commit"]) == (str(roots.model), readable, commit)
    assert ":" in found["owner"]


def test_a_blob_that_only_root_may_read(roots):
    for folder in (
        roots.model.parent,
        *(path for path in roots.model.rglob("*") if path.is_dir()),
        roots.model,
    ):
        folder.chmod(0o777)
    assert as_user(roots.root)["locked"] == ""
    (roots.model / "blobs" / "blob-of-model-1.safetensors").chmod(0)
    found = as_user(roots.root)
    assert (found["locked"], found["readable"]) == (str(roots.model), False)
