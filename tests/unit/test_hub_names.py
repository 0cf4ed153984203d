"""Names and numbers of the Hub, where they enter and where they become paths."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import PlanError
from cluster.resolution import HubError, HubUnavailable
from remote.hub import Hub, Token
from remote.node import hub_cache, hub_names, weights_cache
from remote.node.stop import Stop
from tests import samples
from tests.weights import Cluster

MODEL = "org/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA1, SHA256 = "a" * 40, "b" * 64
GOOD_PATHS = (
    "config.json",
    "a/b/c.py",
    "model-00001-of-00002.safetensors",
    "名前.json",
    ".gitattributes",
    "a b.txt",
    "..hidden",
    "a..b/c",
    "~x",
)
BAD_PATHS = (
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "C:\\x",
    "a\0b",
    "a\nb",
    "a\x1b]52;c;x\x07",
    "a\x7f",
    "a\x85b",
    "model\u202egpj.exe",
    "a\u2066b",
    "a\u200fb",
    "a\u200bb",
    "a\u2028b",
    "a\ud800b",
    "x" * 256,
    "a/" * 600 + "b",
    "../../../../../../lib/python3/site-packages/usercustomize.py",
    None,
    7,
    b"a",
    ["a"],
)
BAD_COMMITS = ("../../../../../.docker", "main", "", COMMIT[:-1], COMMIT + "0", COMMIT.upper(), COMMIT + "\n",
               "g" * 40, "²" * 40, "../" + COMMIT, None, 7)  # fmt: skip
BAD_DIGESTS = (
    "../../x",
    "a" * 39,
    "a" * 41,
    "a" * 63,
    "a" * 65,
    "A" * 40,
    "g" * 64,
    "²" * 64,
    "a" * 40 + "\n",
    None,
    7,
)
BAD_SIZES = (-1, 2**60, True, 1.5, float("nan"), float("inf"), "12", None)


def file(**changes: Any) -> dict[str, Any]:
    return {"path": "config.json", "size": 12, "digest": SHA1, "lfs": False, **changes}


def sibling(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{"rfilename": "config.json", "size": 12, "blob_id": SHA1, "lfs": None, **changes}
    )


WEIGHTS = sibling(rfilename="model.safetensors", lfs=SimpleNamespace(size=99, sha256=SHA256))


def resolve(siblings: list[SimpleNamespace], commit: Any = COMMIT, trust: bool = True) -> Any:
    hub = Hub("http://127.0.0.1:9", Token(None, ""))
    hub._api = SimpleNamespace(
        model_info=lambda *_args, **_more: SimpleNamespace(sha=commit, siblings=siblings, gated=False)
    )
    return hub.resolve(MODEL, None, trust)


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_good_paths(path):
    assert hub_names.is_path(path)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths_are_refused_everywhere(path, tmp_path):
    assert not hub_names.is_path(path)
    with pytest.raises(HubError):
        resolve([sibling(), WEIGHTS, sibling(rfilename=path)])
    with pytest.raises(Stop):
        store(tmp_path, files=[file(path=path)])


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("./\\a~\0\n\x1b\x9b\u202e\u2067é:") | st.characters(), max_size=12))
def test_a_path_that_passes_stays_in_its_folder_and_shows_what_it_is(path):
    if hub_names.is_path(path):
        assert os.path.normpath(os.path.join("/top/snapshot", path)) == "/top/snapshot/" + path
        assert not any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in path)


@pytest.mark.parametrize("commit", BAD_COMMITS)
def test_bad_commits(commit, tmp_path):
    with pytest.raises(HubError):
        resolve([sibling(), WEIGHTS], commit)
    with pytest.raises(Stop):
        store(tmp_path, commit=commit)


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_bad_digests(digest, tmp_path):
    with pytest.raises(HubError):
        resolve([WEIGHTS, sibling(blob_id=digest)])
    with pytest.raises(Stop):
        store(tmp_path, files=[file(digest=digest)])


@pytest.mark.parametrize("size", BAD_SIZES)
def test_bad_sizes(size, tmp_path):
    with pytest.raises(Stop):
        store(tmp_path, files=[file(size=size)])


@pytest.mark.parametrize("size", [-1, 2**60, float("nan"), float("inf"), "²", [1]])
def test_a_bad_size_of_the_hub_is_one_of_our_errors(size):
    with pytest.raises(HubError):
        resolve([WEIGHTS, sibling(size=size)])


def test_the_digest_has_the_length_of_its_kind():
    assert not hub_names.wrong(COMMIT, [file()])
    assert hub_names.wrong(COMMIT, [file(digest=SHA256)])
    assert hub_names.wrong(COMMIT, [file(lfs=True)])
    assert not hub_names.wrong(COMMIT, [file(digest="")])


def test_a_file_listed_twice_and_sizes_that_no_disk_holds():
    assert hub_names.wrong(COMMIT, [file(), file()])
    assert hub_names.wrong(COMMIT, [file(path=name, size=hub_names.LARGEST) for name in "ab"])


def test_at_most_ten_thousand_files(tmp_path):
    many = [file(path=f"{number}.json") for number in range(10_001)]
    assert not hub_names.wrong(COMMIT, many[:-1])
    with pytest.raises(Stop):
        store(tmp_path, files=many)
    with pytest.raises(HubError):
        resolve([sibling(), WEIGHTS, *(sibling(rfilename=f"{number}.json") for number in range(10_000))])


def test_what_the_client_cannot_read_is_no_answer():
    for siblings in ([SimpleNamespace()], [None], 7):
        with pytest.raises(HubUnavailable):
            resolve(siblings)


def test_a_message_shows_a_bad_name_in_ascii():
    with pytest.raises(HubError) as caught:
        resolve([sibling(), WEIGHTS, sibling(rfilename="a\x1b]52;c;x\x07\u202e" + "y" * 500)])
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": "../../../../../.docker"},
        {"files": [file(path="../x")]},
        {"files": [file(digest="../x")]},
    ],
)
def test_nothing_of_it_goes_to_a_node(tmp_path, changes):
    pair = Cluster(tmp_path, 2, "lab/bulk-3x4M", "http://127.0.0.1:9", **changes)
    with pytest.raises(PlanError):
        pair.ensure()
    assert not any(shell.commands for shell in pair.shells.values())


# The node's own store


def store(home: Path, **changes: Any) -> weights_cache.Store:
    job = {"hf_cache": str(home / "hf"), "stack": "test", "model": MODEL, "commit": COMMIT, "files": [file()]}
    return weights_cache.Store({**job, **changes})


@pytest.mark.parametrize("model", ["../x", "/x", "a\\b", "", "a/../../b"])
def test_the_models_name_too(tmp_path, model):
    with pytest.raises(Stop):
        store(tmp_path, model=model)


def test_links_that_stay_in_the_snapshot(tmp_path):
    found = store(tmp_path, files=[file(path="a/b.py")])
    found.install()
    assert os.readlink(tmp_path / "hf/hub/models--org--name/snapshots" / COMMIT / "a/b.py") == (
        "../../../blobs/" + SHA1
    )


@pytest.mark.parametrize("through", ["snapshots", "commit", "folder"])
def test_no_link_is_made_outside_of_the_snapshot(tmp_path, through):
    """A folder that is a link already leads it out; nothing is made there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    model = tmp_path / "hf" / "hub" / "models--org--name"
    place = {
        "snapshots": model / "snapshots",
        "commit": model / "snapshots" / COMMIT,
        "folder": model / "snapshots" / COMMIT / "a",
    }[through]
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(Stop):
        store(tmp_path, files=[file(path="a/deep/b.py")]).install()
    assert list(outside.iterdir()) == []


def test_a_models_folder_on_another_disk_is_as_good(tmp_path):
    """People move it and leave a link behind."""
    (tmp_path / "other").mkdir()
    (tmp_path / "hf" / "hub").mkdir(parents=True)
    (tmp_path / "hf" / "hub" / "models--org--name").symlink_to(tmp_path / "other")
    store(tmp_path).install()
    assert (tmp_path / "other" / "snapshots" / COMMIT / "config.json").is_symlink()


@pytest.mark.parametrize("revision", ["..", "../../../etc", "/etc", "a/../b", "a\\b"])
def test_a_cache_knows_commits_only(tmp_path, revision):
    model = tmp_path / "hub" / "models--org--name"
    (model / "snapshots").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("../../../../../.docker")
    for asked in (revision, "main"):
        found: dict[str, Any] = hub_cache.look({"hf_cache": str(tmp_path), "model": MODEL, "revision": asked})
        assert found["commit"] is None


def test_a_commit_that_a_node_made_up_is_refused(monkeypatch):
    from cluster.hub_files import Resolved
    from cluster.weights_plan import ModelFiles
    from remote import model

    made_up = Resolved(ModelFiles(MODEL, "../../x", "", ()), gated=False)
    monkeypatch.setattr(model, "from_caches", lambda *_args: made_up)
    with pytest.raises(HubError):
        model.settle(samples.settings(1), HubUnavailable("off"), ["a"], [samples.cache()], lambda: None)  # type: ignore[arg-type, return-value]
