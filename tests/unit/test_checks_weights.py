"""Checks of the model's files on the nodes: whose they are, and where they lie."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import catalog, checks, engine
from cluster.hub_files import Resolved
from cluster.resolution import Found
from cluster.weights_plan import ModelFiles
from tests import samples

ROOTS = "/home/nvidia/.cache/huggingface/hub/models--openai--gpt-oss-120b"


def found(*changes: dict[str, Any], **settings: Any) -> list[tuple[str, str, str]]:
    """(level, check, node) of the weights' findings for a node with each of `changes` in its cache."""
    nodes, caches = samples.facts(len(changes)), [samples.cache(**one) for one in changes]
    context = checks.Context("dgx", samples.settings(len(changes), **settings), nodes, caches)
    return [(one.level, one.check, one.node) for one in said(context)]


def said(context: checks.Context) -> list[checks.Finding]:
    return [one for one in checks.findings(context) if one.check.startswith("weights.")]


def locked(**changes: Any) -> dict[str, Any]:
    return {"locked": ROOTS, "readable": True, "owner": "nvidia:nvidia", "main": samples.COMMIT, **changes}


def test_a_whole_model_of_roots_is_served_as_it_is():
    assert found(locked(), {}) == []


@pytest.mark.parametrize(
    "cache",
    [
        locked(readable=False, commit=None, problems=[]),
        locked(commit=None),
        locked(problems=["model.safetensors is missing"]),
    ],
)
def test_a_models_folder_of_root_is_refused_where_it_is_in_the_way(cache):
    assert found(cache, {}) == [("FAIL", "weights.rights", "10.24.11.11")]
    assert found(cache, {}, running=False) == []


def test_the_line_gives_the_folder_to_the_user():
    cache = samples.cache(**locked(commit=None))
    [one] = said(checks.Context("dgx", samples.settings(1), samples.facts(1), [cache]))
    assert f"sudo chown -R nvidia:nvidia {ROOTS}" in one.todo


def test_what_cannot_be_read_is_not_also_missing():
    cache = locked(readable=False, commit=None)
    assert found(cache, downloadWeights=False) == [("FAIL", "weights.rights", "10.24.11.11")]
    assert found(locked(problems=["x is missing"]), downloadWeights=False) == [
        ("FAIL", "weights.whole", "10.24.11.11")
    ]


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("/mnt/models/hub", "pulumi config set hfCache /mnt/models`"),
        ("/mnt/models/hub/", "pulumi config set hfCache /mnt/models`"),
        ("/mnt/my models", "ln -s . '/mnt/my models/hub'"),
    ],
)
def test_the_hub_folder_itself_is_a_warning_with_what_to_set(folder, line):
    cache = samples.cache(folder=folder, flat=True, commit=None)
    [one] = said(checks.Context("dgx", samples.settings(1), samples.facts(1), [cache]))
    assert (one.level, one.check) == ("WARN", "weights.folder")
    assert line in one.todo


def test_nodes_with_one_cache_are_named():
    nas = {"shared": {"network": True, "names": ["nas:/hf /hub"]}}
    own = {"shared": {"network": False, "names": ["131073 at 1764000000"]}}
    assert found(nas, own, nas) == [("NOTE", "weights.shared", "")]
    assert found(own, own) == found(nas, own) == []


def trusting(endpoint: str = "https://huggingface.co", **settings: Any) -> list[checks.Finding]:
    files = ModelFiles("openai/gpt-oss-120b", samples.COMMIT, endpoint, ())
    context = checks.Context(
        "dgx",
        samples.settings(1, **settings),
        samples.facts(1),
        [samples.cache()],
        Found(Resolved(files, gated=False)),
    )
    return said(context)


@pytest.mark.parametrize("revision", [None, "main", "v1", samples.COMMIT[:12], samples.COMMIT[::-1]])
def test_trusted_code_needs_its_commit(revision):
    """And the message has the commands, with the commit that the model is at now."""
    [one] = trusting(trustRemoteCode=True, **({"revision": revision} if revision else {}))
    assert (one.level, one.check) == ("FAIL", "weights.pinned")
    assert f"https://huggingface.co/openai/gpt-oss-120b/tree/{samples.COMMIT}," in str(one)
    assert f"`pulumi config set revision {samples.COMMIT}` and `pulumi up`" in str(one)


def test_trusted_code_at_the_nodes_commit_where_the_hub_cannot_be_asked():
    [one] = trusting("", trustRemoteCode=True)
    assert f"Read the code on the head, then `pulumi config set revision {samples.COMMIT}`" in str(one)


@pytest.mark.parametrize(
    "settings",
    [
        {"trustRemoteCode": True, "revision": samples.COMMIT},
        {"trustRemoteCode": False},
        {"trustRemoteCode": True, "running": False},
    ],
)
def test_pinned_code_and_none_are_fine(settings):
    assert trusting(**settings) == []


def test_no_model_of_the_catalog_has_its_code_trusted():
    """Without a word of the user: phi-4, which once had, needs none."""
    for model in catalog.CATALOG:
        assert not engine.resolve(samples.settings(1, model=model.id)).trust_remote_code
