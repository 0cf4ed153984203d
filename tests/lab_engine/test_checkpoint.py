"""Weight files that are damaged, absent, or of a model that is not supported."""

import json
import struct

import pytest

from lab.engine.tensorrt_llm import checkpoint


def shard(path, header, size):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * size)
    return path


def tensor(begin, end, shape=(2, 2)):
    return {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}


def test_a_whole_shard(tmp_path):
    path = shard(tmp_path / "a.safetensors", {"__metadata__": {}, "x": tensor(0, 8), "y": tensor(8, 16)}, 16)
    assert checkpoint.read_shard(path) == ["x", "y"]


@pytest.mark.parametrize(
    ("header", "size", "said"),
    [
        ({"x": tensor(0, 8)}, 4, "file not fully covered"),  # cut off
        ({"x": tensor(0, 8)}, 9, "file not fully covered"),  # too long
        ({"x": tensor(0, 6)}, 6, "invalid offset for x"),
        ({"x": tensor(0, 8), "y": tensor(12, 20)}, 20, "invalid offset for y"),
    ],
)
def test_a_damaged_shard(tmp_path, header, size, said):
    with pytest.raises(checkpoint.SafetensorError, match=said):
        checkpoint.read_shard(shard(tmp_path / "a.safetensors", header, size))


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, struct.pack("<Q", 4) + b"nope"])
def test_not_safetensors(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(checkpoint.SafetensorError, match="deserializing header"):
        checkpoint.read_shard(tmp_path / "a.safetensors")


def test_no_shards(tmp_path):
    with pytest.raises(RuntimeError, match="No weight files found in"):
        checkpoint.load_weights(tmp_path)


def test_an_architecture_of_another_age(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Gemma2ForCausalLM"]}')
    with pytest.raises(ValueError, match="Unknown architecture for AutoModelForCausalLM: Gemma2ForCausalLM"):
        checkpoint.read_config(tmp_path)
