"""The node program that lists models and takes them away: whole folders only, and nothing that is shared."""

from __future__ import annotations

import fcntl
import json
import os
import struct

import pytest

from remote.node import authorized_key, models_cache, stop

COMMIT = "a" * 40


def weights(size):
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * size


def add(cache, model, files, shared=()):
    """A model as the Hub's client leaves it; `shared` names files whose blob is a link into hub/blobs."""
    base = cache / "hub" / ("models--" + model.replace("/", "--"))
    snapshot = base / "snapshots" / COMMIT
    for folder in (base / "blobs", base / "refs", snapshot, cache / "hub/blobs"):
        folder.mkdir(parents=True, exist_ok=True)
    (base / "refs/main").write_text(COMMIT)
    for name, content in files.items():
        blob = base / "blobs" / f"digest-{name}"
        if name in shared:
            store = cache / "hub/blobs" / f"digest-{name}"
            store.write_bytes(content)
            blob.symlink_to(os.path.relpath(store, blob.parent))
        else:
            blob.write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return base


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "cache"


def look(cache):
    return models_cache.look({"hf_cache": str(cache)})["models"]


def prune(cache, *models):
    return models_cache.prune({"hf_cache": str(cache), "models": list(models)})


def test_sizes_count_every_file_once(cache):
    add(cache, "a/whole", {"config.json": b"{}", "model.safetensors": weights(1000)})
    base = add(cache, "a/part", {"config.json": b"{}"})
    (base / "blobs" / "x.trtspark-incomplete").write_bytes(b"1" * 77)
    found = look(cache)
    assert found["a/whole"]["bytes"] == 2 + len(weights(1000)) + len(COMMIT)
    assert found["a/whole"]["problems"] == []
    assert found["a/part"]["bytes"] == 2 + 77 + len(COMMIT)
    assert found["a/part"]["problems"]


def test_a_cache_that_is_not_there_is_empty(cache):
    assert look(cache) == {}
    assert prune(cache, "a/b") == {"removed": [], "bytes": 0}


def test_only_what_was_asked_for_goes(cache):
    gone, kept = add(cache, "a/gone", {"x": b"12345"}), add(cache, "a/kept", {"x": b"12345"})
    answer = prune(cache, "a/gone", "a/never-there")
    assert answer == {"removed": ["a/gone"], "bytes": 5 + len(COMMIT)}
    assert not gone.exists()
    assert (kept / "snapshots" / COMMIT / "x").read_bytes() == b"12345"


def test_a_shared_file_stays_while_another_model_links_to_it(cache):
    add(cache, "a/one", {"both": b"both", "mine": b"mine!"}, shared=("both", "mine"))
    add(cache, "a/two", {"both": b"both"}, shared=("both",))
    prune(cache, "a/one")
    assert sorted(os.listdir(cache / "hub/blobs")) == ["digest-both"]
    assert (cache / "hub/models--a--two/snapshots" / COMMIT / "both").read_bytes() == b"both"
    prune(cache, "a/two")
    assert os.listdir(cache / "hub/blobs") == []


def test_what_is_no_model_folder_is_never_touched(cache, tmp_path):
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    (cache / "hub").mkdir(parents=True)
    (cache / "hub/models--a--link").symlink_to(elsewhere)
    (cache / "hub/datasets--a--b").mkdir()
    assert look(cache) == {}
    for model in ("a/link", "../../precious", "a/../../..", "datasets--a--b"):
        assert prune(cache, model)["removed"] == []
    assert (elsewhere / "file").read_text() == "mine"
    assert (cache / "hub/datasets--a--b").is_dir()


def test_a_folder_with_something_of_the_owners_stays_whole(cache):
    base = add(cache, "a/b", {"x": b"1"})
    (base / "notes.txt").write_text("mine")
    with pytest.raises(stop.Stop, match=r"notes\.txt, which is no part of a model"):
        prune(cache, "a/b")
    assert (base / "snapshots" / COMMIT / "x").exists()


def test_links_out_of_the_cache_are_not_followed(cache, tmp_path):
    base = add(cache, "a/b", {"x": b"1"})
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (base / "snapshots" / COMMIT / "y").symlink_to(outside)
    prune(cache, "a/b")
    assert outside.read_text() == "mine"


def test_nothing_goes_while_files_arrive(cache, tmp_path):
    base = add(cache, "a/b", {"x": b"1"})
    folder = tmp_path / "home/.local/state/trtspark/dgx"
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(stop.Stop, match="being fetched"):
            prune(cache, "a/b")
    assert base.exists()
    prune(cache, "a/b")
    assert not base.exists()


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxh me@here"


def test_a_key_is_added_once_and_what_is_there_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert authorized_key.main({"key": KEY}) == {"added": True}
    path = tmp_path / ".ssh/authorized_keys"
    assert (path.read_text(), path.stat().st_mode & 0o777) == (KEY + "\n", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text("ssh-rsa OTHER old")  # without an end of line
    assert authorized_key.main({"key": KEY}) == {"added": True}
    assert path.read_text() == f"ssh-rsa OTHER old\n{KEY}\n"
    assert authorized_key.main({"key": KEY + " by another name"}) == {"added": False}
