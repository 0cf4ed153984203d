"""Room in memory and on disk, as the preview tells it."""

from __future__ import annotations

import dataclasses
from typing import Any

from cluster import checks, fit
from cluster.checks import fit as room
from cluster.facts import Disk, Facts, Memory
from cluster.fit.constants import GIB
from cluster.hub_files import Resolved
from cluster.model_config import shape
from cluster.resolution import Found
from cluster.weights_plan import ModelFile, ModelFiles
from tests import samples
from tests.checkpoints import config, tensors

FILES = ModelFiles(
    "openai/gpt-oss-120b",
    samples.COMMIT,
    "http://hub",
    (ModelFile("config.json", 100, "", False), ModelFile("model.safetensors", 65_000_000_000, "", True)),
)


def found(name: str) -> Found:
    return Found(Resolved(FILES, False), fit.Model(shape(config(name)), tensors(config(name))))


def context(model: Found | None, nodes: list[Facts], **changes: Any) -> checks.Context:
    caches = [changes.pop("cache", samples.cache()) for _ in nodes]
    return checks.Context("dgx", samples.settings(len(nodes), **changes), nodes, caches, model)


def said(model: Found | None, nodes: list[Facts] | None = None, **changes: Any) -> list[tuple[str, str]]:
    here = context(model, nodes or samples.facts(2), **changes)
    ids = ("memory.fit", "memory.context", "disk.cache", "model.split")
    return [(one.level, str(one)) for one in checks.findings(here) if one.check in ids]


def spark(**changes: Any) -> Facts:
    return dataclasses.replace(samples.facts(1)[0], **changes)


def test_a_model_that_fits_is_a_note_with_its_numbers():
    here = context(found("gpt-oss-120b"), samples.facts(1), cache=samples.cache(files=dict(_all())))
    assert not said(found("gpt-oss-120b"), samples.facts(1), cache=samples.cache(files=dict(_all())))
    length, note = room.notes(here)
    assert length == (
        "Context: up to 86016 of the model's 131072 tokens a request, because the KV cache has room for no "
        "more by our estimate. maxSeqLen sets another length."
    )
    assert note.startswith("Memory: openai/gpt-oss-120b fits: 63.3 GiB weights, ")
    for figure in ("4 requests of 8192 tokens", "116.1 GiB of 121.7 GiB", "5.9 GiB to 45.5 GiB", "one node"):
        assert figure in note


def test_a_model_that_does_not_fit_stops_with_what_would():
    [(level, text)] = said(found("Llama-3.1-70B-Instruct"), samples.facts(1), cache=_there())
    assert level == "FAIL"
    assert text.startswith("10.24.11.11: openai/gpt-oss-120b does not fit in memory: 131.4 GiB weights")
    assert "What would fit: 2 nodes like this one" in text
    assert "allowOvercommit true" in text


def test_overcommit_is_allowed_by_hand():
    [(level, text)] = said(
        found("Llama-3.1-70B-Instruct"), samples.facts(1), cache=_there(), allowOvercommit=True
    )
    assert level == "WARN"
    assert "allowOvercommit" not in text


def test_a_tight_model_is_a_warning():
    [(level, text)] = said(found("Qwen2.5-72B-Instruct"), cache=_there(), maxBatchSize=64, maxNumTokens=32768)
    assert level == "WARN"
    assert "is tight in memory" in text
    assert "maxBatchSize up to " in text


def test_what_others_hold_counts_unless_our_own_rank_runs():
    busy = Memory(total=120 * GIB, available=50 * GIB)
    assert room.memory_of(spark(ram=busy), "dgx").others == 70 * GIB
    ours = spark(ram=busy, ranks=(("dgx", "0", "8355"),))
    assert room.memory_of(ours, "dgx").others == 4 * GIB
    other = spark(ram=busy, ranks=(("old", "0", "8355"),))
    assert room.memory_of(other, "dgx").others == 70 * GIB
    idle = Memory(total=120 * GIB, available=119 * GIB)
    assert room.memory_of(spark(ram=idle), "dgx").others == 4 * GIB
    assert room.memory_of(spark(ram=Memory()), "dgx") == fit.Memory("10.24.11.11", spark().memory)
    assert [level for level, _ in said(found("gpt-oss-120b"), [spark(ram=busy)], cache=_there())] == ["FAIL"]


def test_nothing_is_said_of_a_model_that_is_not_known_or_not_wanted():
    assert said(None) == []
    assert said(found("Llama-3.1-70B-Instruct"), samples.facts(1), running=False) == []
    unknown = Found(Resolved(FILES, False), None)
    assert said(unknown, cache=_there()) == []
    [note] = room.notes(context(unknown, samples.facts(1)))
    assert note.startswith("Memory: not estimated")


def test_gpt_oss_is_not_split_by_layers():
    [(level, text)] = said(found("gpt-oss-120b"), cache=_there(), tensorParallel=1)
    assert level == "FAIL"
    assert "tensorParallel 1 on 2 nodes would do that" in text
    assert said(found("Llama-3.1-8B-Instruct"), cache=_there(), tensorParallel=1) == []


def test_heads_that_cannot_be_shared_evenly():
    [(level, text)] = said(found("gpt-oss-120b"), samples.facts(3), cache=_there())
    assert level == "WARN"
    assert "has 64 attention heads, which 3 ranks cannot share" in text


def disk(free: int) -> Facts:
    return spark(disks={"cache": Disk("/home/nvidia/.cache/huggingface", "/", 4 << 40, free, 1 << 30)})


def test_room_on_the_disk_for_what_is_missing():
    unknown = Found(Resolved(FILES, False), None)
    [(level, text)] = said(unknown, [disk(60 * 10**9)], cache=samples.cache(files={}))
    assert level == "FAIL"
    assert text.startswith("10.24.11.11: /home/nvidia/.cache/huggingface has 60.0 GB free on /, and 65.0 GB")
    assert "Free 7.1 GB there" in text
    assert said(unknown, [disk(70 * 10**9)], cache=samples.cache(files={})) == []


def test_what_is_there_needs_no_room():
    unknown = Found(Resolved(FILES, False), None)
    assert said(unknown, [disk(10**9)], cache=_there()) == []
    assert said(unknown, [disk(10**9)], cache=samples.cache(files={}), downloadWeights=False) == []
    assert said(unknown, [spark()], cache=samples.cache(files={})) == [], "not every probe tells"


def _all() -> dict[str, int]:
    return {file.path: file.size for file in FILES.files}


def _there() -> dict[str, Any]:
    return samples.cache(files=_all())


def test_the_context_does_not_depend_on_what_other_programs_hold():
    """It is in the server's command line: each change would restart it."""
    busy, idle = (spark(ram=Memory(119 * GIB, 119 * GIB - used)) for used in (90 * GIB, 5 * GIB))
    contexts = {
        room.serving_context(samples.settings(1), found("gpt-oss-20b").model, [one]) for one in (busy, idle)
    }
    assert contexts == {131072}


def test_other_programs_that_leave_no_room_for_the_context_are_a_warning():
    busy = spark(ram=Memory(119 * GIB, 119 * GIB - 101 * GIB))
    told = said(found("gpt-oss-20b"), [busy], cache=_there())
    [text] = [text for level, text in told if "context" in text and level == "WARN"]
    assert "other programs hold 101.0 GiB, which leaves the KV cache room for a context of " in text
    assert "pulumi config set maxSeqLen " in text
    assert not said(found("gpt-oss-20b"), [spark()], cache=_there())


def test_a_context_longer_than_the_models_is_refused():
    [(level, text)] = said(found("phi-4"), maxSeqLen=32768, cache=_there())
    assert level == "FAIL"
    assert "maxSeqLen is 32768" in text
    assert "`pulumi config set maxSeqLen 16384`" in text


def test_a_context_that_does_not_fit_is_the_memory_verdicts():
    small = spark(ram=Memory(72 * GIB, 67 * GIB))
    asked: dict[str, Any] = {"maxSeqLen": 131072, "cache": _there()}
    [(level, text)] = said(found("gpt-oss-120b"), [small], **asked)
    assert (level, "does not fit in memory" in text) == ("FAIL", True)
    [(level, _)] = said(found("gpt-oss-120b"), [small], allowOvercommit=True, **asked)
    assert level == "WARN"


def test_the_note_says_whose_context_it_is():
    nodes = samples.facts(2)
    whole, asked = (
        next(iter(room.notes(context(found("gpt-oss-120b"), nodes, **changes))))
        for changes in ({}, {"maxSeqLen": 4096})
    )
    assert whole == "Context: up to 131072 tokens a request, the model's longest."
    assert asked == "Context: up to 4096 tokens a request (maxSeqLen; the model's longest is 131072)."
