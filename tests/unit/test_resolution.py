"""Which commit is meant where the Hub was asked, and where it could not be."""

from __future__ import annotations

import pytest

from cluster.resolution import HubUnavailable, from_caches, missing_bytes
from cluster.weights_plan import ModelFile, ModelFiles
from tests import samples

NODES = ("spark-1", "spark-2")
REASON = HubUnavailable("The Hub cannot be asked.")
DIGESTS = {"config.json": "c" * 40, "model.safetensors": "d" * 64}


def settled(*caches, **changes):
    return from_caches(samples.settings(2, **changes), NODES, caches, REASON)


def test_all_nodes_hold_it():
    found = settled(samples.cache(), samples.cache())
    assert found.files.commit == samples.COMMIT
    assert [file.path for file in found.files.files] == ["config.json", "model.safetensors"]
    plain = samples.cache(blobs={})
    assert [file.digest for file in settled(plain, plain).files.files] == ["", ""]


def test_one_node_is_enough_where_the_rest_can_be_copied():
    for caches in (
        (samples.cache(blobs=DIGESTS), samples.cache(commit=None, files={})),
        (samples.cache(problems=["half"], blobs=DIGESTS), samples.cache(blobs=DIGESTS)),
        (samples.cache(blobs=DIGESTS), samples.cache(commit="f" * 40, blobs=DIGESTS)),
    ):
        found = settled(*caches)
        assert found.files.commit == samples.COMMIT
        assert [(file.digest, file.lfs) for file in found.files.files] == [
            ("c" * 40, False),
            ("d" * 64, True),
        ]


@pytest.mark.parametrize("changes", [{"downloadWeights": False}, {}])
def test_one_node_is_not_enough_where_they_cannot(changes):
    known = DIGESTS if changes else {}  # without its digest nobody can tell that a copy arrived whole
    with pytest.raises(HubUnavailable, match=r"spark-2: model .* is not in"):
        settled(samples.cache(blobs=known), samples.cache(commit=None), **changes)


def test_each_node_says_what_it_lacks():
    cut = samples.cache(blobs={}, problems=["model.safetensors has 5 bytes of 1000"])
    with pytest.raises(HubUnavailable) as caught:
        settled(samples.cache(commit=None, models=["openai/gpt-oss-120"]), cut)
    first, *others = str(caught.value).splitlines()
    assert first.startswith("The Hub cannot be asked. Without it openai/gpt-oss-120b must be on every node")
    assert [line.split(": ")[0] for line in others] == ["spark-1", "spark-2"]
    assert others[1].endswith("model.safetensors has 5 bytes of 1000.")


@pytest.mark.parametrize(
    ("model", "download", "suggested"),
    [
        ("openai/gpt-oss-120b", True, ""),  # spelt right
        ("openai/gpt-oss-120b", False, ""),
        ("somebody/gpt-oss-120b", True, ""),  # who knows, with a Hub that is down
        ("openai/gpt-oss-12b", False, "Did you mean openai/gpt-oss-120b"),
    ],
)
def test_a_spelling_is_doubted_only_where_nobody_was_to_ask_the_hub(model, download, suggested):
    empty = samples.cache(commit=None)
    with pytest.raises(HubUnavailable) as caught:
        settled(empty, empty, model=model, downloadWeights=download)
    assert ("Did you mean" in str(caught.value)) == bool(suggested)
    assert suggested in str(caught.value)


def test_what_the_engine_does_not_need_is_not_asked_of_a_node():
    files = {"config.json": 1, "model.safetensors": 2, "original/model.safetensors": 99, "README.md": 5}
    found = settled(samples.cache(files=files), samples.cache(files=files))
    assert found.files.size == 3


def test_missing_bytes():
    wanted = ModelFiles(
        "org/model",
        samples.COMMIT,
        "http://hub",
        (
            ModelFile("config.json", 100, "c" * 40, False),
            ModelFile("model.safetensors", 1000, "d" * 64, True),
        ),
    )
    assert missing_bytes(wanted, samples.cache()) == 0
    assert missing_bytes(wanted, samples.cache(blobs=DIGESTS)) == 0
    assert missing_bytes(wanted, samples.cache(blobs={"model.safetensors": "e" * 64})) == 1000
    assert missing_bytes(wanted, samples.cache(files={"model.safetensors": 999})) == 1100
    assert missing_bytes(wanted, samples.cache(files={})) == 1100
