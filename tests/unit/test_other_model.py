"""Another model in the same stack: three commands derive its settings, by one rule."""

from __future__ import annotations

import json

import pytest

from cluster import engine
from cluster.config import load
from cluster.other_model import OF_THE_MODEL, dropped_keys, kept, taken_away, with_model
from tests import samples
from trtspark import fetching
from trtspark.bench import switching

A, B = "openai/gpt-oss-120b", "openai/gpt-oss-20b"
SET = {"model": A, "revision": "v1", "trustRemoteCode": True, "maxSeqLen": 4096, "maxBatchSize": 2}


@pytest.mark.parametrize(
    "derive",
    [
        with_model,
        fetching.wanted,
        lambda settings, model: switching.settings_for(settings, model, single_node=False),
    ],
    ids=["with_model", "models pull", "bench"],
)
def test_revision_and_trust_are_the_old_models_and_limits_are_the_services(derive):
    before = samples.settings(2, **SET)
    after = derive(before, B)
    assert (after.model, after.revision, after.trust_remote_code) == (B, None, False)
    assert not engine.resolve(after).trust_remote_code
    assert (after.max_seq_len, after.max_batch_size) == (4096, 2)
    assert (derive(before, A).revision, derive(before, A).trust_remote_code) == ("v1", True)


def test_what_goes_and_what_stays_is_named():
    settings = samples.settings(2, **SET, extraArgs=["--reasoning_parser", "qwen3"])
    assert dropped_keys(settings, B) == list(OF_THE_MODEL)
    assert kept(settings, B) == ["maxBatchSize", "maxSeqLen", "extraArgs"]
    assert dropped_keys(settings, A) == kept(settings, A) == []


@pytest.mark.parametrize("trusted", [True, "true"])
def test_init_takes_the_same_away(trusted):
    """What `Plan.wanted` gets: None removes a key."""
    written = {"model": A, "revision": "v1", "trustRemoteCode": trusted, "maxSeqLen": "4096"}
    assert taken_away(written, B) == dict.fromkeys(OF_THE_MODEL)
    assert taken_away(written, A) == taken_away({"model": A, "port": 1}, B) == {}


def test_the_benchmarks_file_says_the_same_as_its_settings():
    settings = samples.settings(2, **SET)
    prefix = switching.PROJECT + ":"
    nodes = [node.model_dump(mode="json", by_alias=True) for node in settings.nodes]
    content = {"config": {prefix + key: value for key, value in {**SET, "nodes": nodes}.items()}}
    made = switching.config_for(content, settings, B, single_node=True)["config"]
    raw = {key: value if isinstance(value, str) else json.dumps(value) for key, value in made.items()}
    assert load(raw) == switching.settings_for(settings, B, single_node=True)
