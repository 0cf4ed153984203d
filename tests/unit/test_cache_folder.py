"""hfCache is one folder for everything that reads or mounts it, whatever its name holds."""

from __future__ import annotations

import json

import pytest

from cluster.config import Settings
from remote.node import (
    cache_folder,
    hub_cache,
    model_shape,
    models_cache,
    probe,
    tokenizer_file,
    weights_cache,
)

HOME = "/home/nvidia"


@pytest.mark.parametrize(
    ("configured", "folder"),
    [
        ("~", HOME),
        ("~/", HOME),
        ("~/hf", f"{HOME}/hf"),
        ("~//.cache/./huggingface/", f"{HOME}/.cache/huggingface"),
        ("~/a~b/~", f"{HOME}/a~b/~"),
        ("/mnt/a~b", "/mnt/a~b"),
        ("/mnt/~/hf", "/mnt/~/hf"),
        ("/mnt//hf/", "/mnt/hf"),
        ("/mnt/~nvidia", "/mnt/~nvidia"),
        ("/mnt/with blank/é", "/mnt/with blank/é"),
    ],
)
def test_every_reader_means_the_same_folder(monkeypatch, configured, folder):
    monkeypatch.setenv("HOME", HOME)
    setting = Settings(nodes=[{"host": "a"}], model="a/b", hf_cache=configured).hf_cache
    asked = {
        "hf_cache": setting,
        "model": "a/b",
        "commit": "c" * 40,
        "stack": "s",
        "files": [],
        "revision": None,
    }
    assert cache_folder.expand(setting, HOME) == folder  # the container's mount
    assert hub_cache.look(asked)["folder"] == folder
    assert models_cache.look(asked)["folder"] == folder
    assert weights_cache.Store(asked).cache == folder
    assert probe._disks(asked, {"info": {"out": "{}"}}, HOME)["cache"]["path"] == folder


def test_files_are_read_from_a_folder_with_a_tilde_in_its_name(tmp_path):
    cache = tmp_path / "a~b"
    snapshot = cache / "hub" / "models--org--model" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}")
    (snapshot / "config.json").write_text(json.dumps({"model_type": "x"}))
    asked = {"hf_cache": str(cache), "model": "org/model", "commit": "c0ffee"}
    assert tokenizer_file.look(asked)["packed"]
    assert tokenizer_file.look({**asked, "commit": "decaf"}) == {"packed": None}
    assert model_shape.look(asked)["config"] == {"model_type": "x"}
