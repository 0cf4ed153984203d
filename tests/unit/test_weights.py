"""The weights on several nodes: real node programs, the lab's Hub, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from cluster.errors import ConfigError, NodeError, NotPrepared, PlanError
from lab import models
from lab.hub.server import Hub
from remote import weights
from tests.weights import Cluster, good

MODEL = "lab/bulk-3x4M"


@pytest.fixture
def hub(monkeypatch):
    # The client reads HF_HUB_OFFLINE when it is imported, which may be by the first test.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with Hub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def _nothing_left_running(tmp_path):
    yield
    for status in tmp_path.glob("*/.local/state/trtspark/*/status.json"):
        if found := re.search(r'"pid": (\d+)', status.read_text()):
            try:
                os.kill(int(found[1]), signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def cluster(tmp_path, hub):
    def make(count=2, model=MODEL, **changes):
        return Cluster(tmp_path, count, model, **{"endpoint": hub.url, **changes})

    return make


def downloads(hub, **wanted):
    """The answers with content that the Hub and its CDN gave."""
    return [
        one
        for one in hub.requests
        if one["status"] in (200, 206) and all(one.get(key) == value for key, value in wanted.items())
    ]


def test_fetched_once_and_on_every_node(cluster, hub):
    three = cluster(3)
    outs = three.ensure()
    assert [three.whole(node) for node in range(3)] == [True] * 3
    assert outs["missing"] == {}
    assert outs["bytes"] == sum(file["size"] for file in three.props["files"])
    files = [one["file"] for one in downloads(hub)]
    assert sorted(files) == sorted(file["path"] for file in three.props["files"])
    assert three.damage() == {}


def test_the_hubs_own_client_finds_it_offline(cluster):
    from huggingface_hub import snapshot_download

    one = cluster(1)
    one.ensure()
    found = snapshot_download(MODEL, cache_dir=one.homes[0] / "hf" / "hub", local_files_only=True)
    assert Path(found) == one.snapshot(0)


def test_nothing_to_do_starts_nothing(cluster, hub):
    pair = cluster()
    pair.ensure()
    before = [len(shell.commands) for shell in pair.shells.values()]
    asked = len(hub.requests)
    pair.ensure()
    assert len(hub.requests) == asked
    assert [len(shell.commands) - old for shell, old in zip(pair.shells.values(), before, strict=True)] == [
        1,
        1,
    ]


def test_what_another_node_has_is_copied_not_fetched(cluster, hub):
    pair = cluster()
    pair.ensure()
    asked = len(hub.requests)
    shutil.rmtree(pair.homes[0] / "hf")
    pair.ensure()
    assert pair.whole(0)
    assert len(hub.requests) == asked


def test_a_cache_that_was_there_is_verified_and_used(cluster, hub, tmp_path):
    from huggingface_hub import snapshot_download

    pair = cluster()
    snapshot_download(MODEL, cache_dir=pair.homes[1] / "hf" / "hub", endpoint=hub.url)
    blobs = pair.homes[1] / "hf" / "hub" / f"models--{MODEL.replace('/', '--')}" / "blobs"
    before = {blob.name: blob.stat().st_ino for blob in blobs.iterdir()}
    hub.requests.clear()
    pair.ensure()
    assert pair.whole(0)
    assert downloads(hub) == []
    assert {blob.name: blob.stat().st_ino for blob in blobs.iterdir()} == before


def test_the_cache_wide_store_of_newer_clients_is_read_and_mended_through_its_links(cluster, hub):
    one = cluster(1)
    one.ensure()
    file = next(file for file in one.props["files"] if file["path"].endswith("00001-of-00003.safetensors"))
    hub_folder = one.homes[0] / "hf" / "hub"
    blob = hub_folder / f"models--{MODEL.replace('/', '--')}" / "blobs" / file["digest"]
    shared = hub_folder / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    hub.requests.clear()
    one.ensure()
    assert downloads(hub) == []
    shared.write_bytes(bytes(file["size"]))
    one.ensure()
    assert good(shared, file)
    assert blob.is_symlink()


#: Long past: the Hub's clock and the node's are not one.
SOON = "Sun, 29 Nov 2026 00:00:00 GMT"
FAULTS = {
    "server errors": [{"kind": "status", "status": 503, "times": 3}],
    "asked to wait": [{"kind": "status", "status": 429, "retry_after": 1, "times": 1}],
    "asked to wait by a date": [{"kind": "status", "status": 429, "retry_after": SOON, "times": 1}],
    "out of quota": [{"kind": "rate_limit", "seconds": 1.5}],
    "reset": [{"kind": "reset", "after": 100_000, "times": 3}],
    "cut": [{"kind": "cut", "after": 1_000_000, "times": 3}],
    "short": [{"kind": "short", "after": 50_000, "times": 2}],
    "slow": [{"kind": "slow", "rate": 8_000_000.0, "shared": True}],
    "expired links": [{"kind": "expire", "seconds": 0.0001, "times": 2}],
    "no ranges": [{"kind": "no_range"}],
    "changed on the way": [{"kind": "corrupt", "at": 1000, "file": "*.safetensors", "times": 1}],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_download_survives(cluster, hub, fault):
    pair = cluster()
    for rule in FAULTS[fault]:
        hub.faults.add(rule)
    pair.ensure()
    assert pair.whole(0)
    assert pair.whole(1)
    assert all(rule["hits"] for rule in hub.faults.listed())


def test_content_that_is_never_the_hubs_is_never_taken(cluster):
    pair = cluster(model="lab/wrong-checksum")
    with pytest.raises(NodeError, match=r"node-0: .*model-00002-of-00002.safetensors.*checksum"):
        pair.ensure()
    assert not (pair.snapshot(0) / "model-00002-of-00002.safetensors").exists()
    assert not (pair.snapshot(1) / "model-00002-of-00002.safetensors").exists()


def test_a_hub_that_is_not_there_is_said(cluster, monkeypatch):
    monkeypatch.setattr(weights, "FIRST_BYTE_S", 1.0)
    pair = cluster(endpoint="http://127.0.0.1:9")
    with pytest.raises(
        NodeError, match=r"node-0: .*nothing arrived for \d+ s: 127.0.0.1:9 cannot be reached"
    ):
        pair.ensure()


def test_a_killed_fetch_goes_on_where_it_was(cluster, hub):
    one = cluster(1, "lab/bulk-2x12M")
    slow = hub.faults.add({"kind": "slow", "rate": 6_000_000.0, "shared": True})
    killed = []

    def kill(_line):
        journal = one.homes[0] / ".local/state/trtspark/test/journal.json"
        if not killed and journal.exists() and "spans" in journal.read_text():
            text = (one.homes[0] / ".local/state/trtspark/test/status.json").read_text()
            killed.append(int(re.search(r'"pid": (\d+)', text)[1]))
            os.kill(killed[0], signal.SIGKILL)
            hub.requests.clear()
            hub.faults.clear(slow.id)
            raise Interrupted

    with pytest.raises(Interrupted):
        one.ensure(say=kill)
    one.ensure()
    assert one.whole(0)
    fetched = sum(request["sent"] for request in hub.requests)
    assert 0 < fetched < sum(file["size"] for file in one.props["files"])


class Interrupted(Exception):
    """Stands for a killed `pulumi up`."""


def test_a_second_run_waits_for_the_first_ones_work(cluster, hub):
    pair = cluster(2, "lab/bulk-2x8M")
    hub.faults.add({"kind": "slow", "rate": 3_000_000.0, "shared": True})
    pids = []

    def interrupt(_line):
        status = pair.homes[0] / ".local/state/trtspark/test/status.json"
        pids.append(re.search(r'"pid": (\d+)', status.read_text())[1])
        if len(pids) == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        pair.ensure(say=interrupt)
    pair.ensure(say=interrupt)
    assert len(pids) > 1
    assert len(set(pids)) == 1
    assert pair.whole(0)
    assert pair.whole(1)


def test_damage_is_found_and_only_that_is_mended(cluster, hub):
    pair = cluster()
    pair.ensure()
    shard = pair.snapshot(1) / "model-00002-of-00003.safetensors"
    with shard.resolve().open("r+b") as handle:
        handle.write(b"damage")
    gone = pair.snapshot(0) / "model-00001-of-00003.safetensors"
    gone.resolve().unlink()
    assert pair.damage() == {
        "node-0": "missing or changed: model-00001-of-00003.safetensors",
        "node-1": "missing or changed: model-00002-of-00003.safetensors",
    }
    hub.requests.clear()
    untouched = (pair.snapshot(0) / "model-00003-of-00003.safetensors").stat().st_ino
    pair.ensure()
    assert pair.damage(full=True) == {}
    assert pair.whole(0)
    assert pair.whole(1)
    assert downloads(hub) == []
    assert (pair.snapshot(0) / "model-00003-of-00003.safetensors").stat().st_ino == untouched


def test_only_a_full_check_sees_what_size_and_time_hide(cluster):
    one = cluster(1)
    one.ensure()
    blob = (one.snapshot(0) / "model-00001-of-00003.safetensors").resolve()
    before = blob.stat()
    with blob.open("r+b") as handle:
        handle.seek(1000)
        handle.write(b"x" * 100)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert one.damage() == {}
    assert one.damage(full=True) == {"node-0": "missing or changed: model-00001-of-00003.safetensors"}


def test_a_check_of_a_hundred_files_is_one_question(cluster):
    many = cluster(1, "lab/hundred-files")
    many.ensure()
    started = time.monotonic()
    assert many.damage() == {}
    assert time.monotonic() - started < 10
    assert len(many.props["files"]) > 100


def test_a_disk_without_room_is_said_before_anything_is_fetched(cluster, hub):
    one = cluster(1)
    one.props["files"][0] = {**one.props["files"][0], "size": 10**13}
    hub.requests.clear()
    with pytest.raises(NodeError, match=r"GB of the model are missing, and the disk of .* GB free"):
        one.ensure()
    assert downloads(hub) == []


@pytest.mark.parametrize(
    ("who", "says"),
    [("nobody", "config set --secret hfToken"), ("newcomer", r"accept it at http\S+/lab/gated")],
)
def test_a_gated_model_says_what_to_do(cluster, hub, who, says):
    one = cluster(1, "lab/gated")
    with pytest.raises(NodeError, match=says):
        one.ensure("" if who == "nobody" else hub.tokens.newcomer)


def test_the_token_opens_the_door_and_is_left_nowhere(cluster, hub):
    pair = cluster(2, "lab/gated")
    hub.faults.add({"kind": "slow", "rate": 1_000_000.0, "shared": True})
    seen = []

    def look(_line):
        for process in Path("/proc").glob("[0-9]*"):
            for what in ("cmdline", "environ"):
                try:
                    seen.append(hub.tokens.granted in (process / what).read_text(errors="replace"))
                except OSError:
                    continue

    pair.ensure(hub.tokens.granted, say=look)
    look("")
    assert pair.whole(1)
    assert seen
    assert not any(seen)
    for home in pair.homes:
        for path in home.rglob("*"):
            assert not path.is_file() or hub.tokens.granted.encode() not in path.read_bytes(), path
    for shell in pair.shells.values():
        assert not any(hub.tokens.granted in command for command in shell.commands)


def test_not_fetched_where_the_configuration_says_so(cluster, hub):
    pair = cluster(fetch=False)
    with pytest.raises(NotPrepared, match=r"downloadWeights is false.*hf download lab/bulk-3x4M --revision"):
        pair.ensure()
    assert downloads(hub) == []


def test_without_a_shared_subnet_the_management_link_is_named(cluster, hub):
    pair = cluster(halves=[[["a", "127.0.1.1", ""]], [["b", "127.0.2.1", ""]]])
    with pytest.raises(PlanError, match=r"node-1 and node-0 share no fabric subnet.*weights.over any"):
        pair.ensure()
    assert downloads(hub) == []


def test_destroy_leaves_the_weights_and_no_trace_of_ours(cluster):
    one = cluster(1)
    (one.homes[0] / ".local").mkdir()
    one.ensure()
    one.forget(delete=False)
    assert one.whole(0)
    assert sorted(path.name for path in one.homes[0].iterdir()) == [".local", "hf"]
    assert list((one.homes[0] / ".local").iterdir()) == []


def test_delete_on_destroy_takes_what_was_fetched_and_nothing_else(cluster, hub):
    from huggingface_hub import hf_hub_download

    one = cluster(1)
    for name in ("config.json", "model-00001-of-00003.safetensors"):
        hf_hub_download(MODEL, name, cache_dir=one.homes[0] / "hf" / "hub", endpoint=hub.url)
    one.ensure()
    one.forget(delete=True)
    left = sorted(path.name for path in one.snapshot(0).iterdir())
    assert left == ["config.json", "model-00001-of-00003.safetensors"]
    assert not (one.homes[0] / ".local").exists()


def test_delete_on_destroy_of_everything_leaves_no_empty_folders(cluster):
    one = cluster(1)
    one.ensure()
    one.forget(delete=True)
    assert list((one.homes[0] / "hf" / "hub").iterdir()) == []


@pytest.fixture
def vocabularies(hub):
    return [
        {
            "path": f"tiktoken-encodings/{name}",
            "size": len(content),
            "digest": hashlib.sha256(content).hexdigest(),
            "url": f"{hub.encodings}/{name}",
        }
        for name, content in models.encodings().items()
    ]


def test_vocabularies_come_to_the_head_alone(cluster, vocabularies):
    pair = cluster(extras=vocabularies)
    pair.ensure()
    for name, content in models.encodings().items():
        assert (pair.homes[0] / "hf" / "tiktoken-encodings" / name).read_bytes() == content
    assert not (pair.homes[1] / "hf" / "tiktoken-encodings").exists()


def test_vocabularies_of_another_checksum_are_refused(cluster, vocabularies):
    one = cluster(1, extras=[{**vocabularies[0], "digest": "0" * 64}])
    with pytest.raises(NodeError, match="checksum"):
        one.ensure()
    assert not (one.homes[0] / "hf" / vocabularies[0]["path"]).exists()


def test_vocabularies_from_the_operators_folder(cluster, hub, vocabularies, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in models.encodings().items():
        (folder / name).write_bytes(content)
    one = cluster(1, extras=vocabularies, tiktokenFolder=str(folder))
    one.ensure()
    assert all(good(one.homes[0] / "hf" / file["path"], {**file, "lfs": True}) for file in vocabularies)
    assert not [request for request in hub.requests if request.get("place") == "encodings"]


def test_a_wrong_file_in_the_operators_folder_does_not_travel(cluster, vocabularies, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in models.encodings():
        (folder / name).write_bytes(b"something else")
    one = cluster(1, extras=vocabularies, tiktokenFolder=str(folder))
    with pytest.raises(ConfigError, match=r"tiktoken.folder: .* does not have the pinned SHA-256"):
        one.ensure()
