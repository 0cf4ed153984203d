"""Who fetches what from whom."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import fabric, weights_plan
from cluster.weights_plan import Half, ModelFile, ModelFiles
from cluster.weights_progress import Progress
from tests import samples

FILES = ModelFiles(
    "o/m",
    "c" * 40,
    "http://hub",
    (ModelFile("config.json", 100, "a" * 40, False), ModelFile("model.safetensors", 1000, "b" * 64, True)),
)


@st.composite
def situations(draw):
    nodes, files = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    table = st.lists(st.lists(st.booleans(), min_size=files, max_size=files), min_size=nodes, max_size=nodes)
    sizes = draw(st.lists(st.integers(0, 100), min_size=files, max_size=files))
    return sizes, draw(table), draw(table)


@settings(deadline=None)
@given(situations())
def test_every_file_comes_to_everybody_once(situation):
    sizes, there, wanted = situation
    work = weights_plan.assign(sizes, there, wanted)
    for file in range(len(sizes)):
        column = [mine.sources[file] for mine in work]
        for node, source in enumerate(column):
            assert (source is not None) == (wanted[node][file] and not there[node][file])
        # From the Hub at most once, and only what no node has.
        from_hub = column.count("hub")
        assert from_hub == (not any(have[file] for have in there) and any(s is not None for s in column))
        # Every way leads to the Hub or to a node that has it, and no node serves a file twice.
        readers = [source for source in column if isinstance(source, int)]
        assert len(readers) == len(set(readers))
        for start in range(len(work)):
            node, steps = start, 0
            while isinstance(column[node], int):
                node, steps = column[node], steps + 1
                assert steps <= len(work)
            assert column[node] == "hub" or there[node][file] or column[start] is None
    for node, mine in enumerate(work):
        served = {other for other, one in enumerate(work) if node in one.sources}
        assert mine.readers == len(served)


@settings(deadline=None)
@given(situations())
def test_after_the_plan_there_is_nothing_left_to_plan(situation):
    sizes, there, wanted = situation
    work = weights_plan.assign(sizes, there, wanted)
    after = [
        [have or source is not None for have, source in zip(mine, one.sources, strict=True)]
        for mine, one in zip(there, work, strict=True)
    ]
    assert all(one.idle for one in weights_plan.assign(sizes, after, wanted))


def test_the_node_that_has_most_fetches_and_the_others_follow_in_a_chain():
    there = [[False, False, True], [True, False, False], [False, False, False]]
    work = weights_plan.assign([50, 10, 20], there, [[True] * 3] * 3)
    assert [one.sources for one in work] == [(1, 1, None), (None, "hub", 0), (0, 0, 1)]


def test_what_the_operator_sends_is_not_asked_of_the_hub():
    [work] = weights_plan.assign([1, 1], [[False, False]], [[True, True]], [False, True])
    assert work.sources == ("hub", "sent")


def test_both_halves_are_used_whichever_way_they_are_listed():
    a = [Half("s1", "10.1.0.1", "x0"), Half("s2", "10.2.0.1", "x1")]
    b = [Half("s2", "10.2.0.2", "y0"), Half("s1", "10.1.0.2", "y1")]
    found = weights_plan.links(a, b)
    assert [(one.own.address, one.other.address, one.half) for one in found] == [
        ("10.1.0.1", "10.1.0.2", 1),
        ("10.2.0.1", "10.2.0.2", 0),
    ]


def test_twins_in_one_subnet_are_two_links():
    twins = [Half("169.254.0.0/16", f"169.254.1.{i}", f"x{i}") for i in (1, 2)]
    others = [Half("169.254.0.0/16", f"169.254.2.{i}", f"y{i}") for i in (1, 2)]
    assert [one.other.address for one in weights_plan.links(twins, others)] == ["169.254.2.1", "169.254.2.2"]


def test_the_management_link_only_when_told():
    facts = [dataclasses.replace(one, hcas=()) for one in samples.facts(2)]
    network = fabric.plan(facts, [(), ()])
    assert weights_plan.halves(network, "fabric") == [[], []]
    allowed = weights_plan.halves(network, "any")
    assert [half.address for [half] in allowed] == ["10.24.11.11", "10.24.11.12"]
    assert len(weights_plan.links(*allowed)) == 1


def test_a_cabled_pair_has_two_links():
    network = fabric.plan(samples.facts(2), [(), ()])
    left, right = weights_plan.halves(network, "fabric")
    found = [(one.own.address, one.other.address) for one in weights_plan.links(left, right)]
    assert sorted(found) == [("192.168.100.11", "192.168.100.12"), ("192.168.101.11", "192.168.101.12")]


def test_what_is_missing_in_words():
    whole = {"commit": FILES.commit, "files": {"config.json": 100, "model.safetensors": 1000}}
    assert weights_plan.missing(FILES, whole) == ""
    cut = {**whole, "files": {"config.json": 100, "model.safetensors": 999}}
    assert weights_plan.missing(FILES, cut) == "model.safetensors (0.0 GB)"
    assert weights_plan.missing(FILES, {**whole, "commit": None}) == "2 files (0.0 GB)"


def test_digests_come_from_a_whole_cache_where_the_hub_was_not_asked():
    bare = dataclasses.replace(
        FILES, files=tuple(dataclasses.replace(file, digest="", lfs=False) for file in FILES.files)
    )
    cache = {
        "commit": FILES.commit,
        "problems": [],
        "blobs": {"config.json": "a" * 40, "model.safetensors": "b" * 64},
    }
    assert weights_plan.with_digests(bare, [cache]) == FILES
    assert weights_plan.with_digests(bare, [{**cache, "commit": "f" * 40}]) == bare


def test_props_and_back():
    assert ModelFiles.from_props(FILES.as_props()) == FILES


def test_vocabularies_for_the_models_that_need_them():
    wanted = weights_plan.vocabularies(samples.settings(2))
    assert [one["path"] for one in wanted] == [
        "tiktoken-encodings/cl100k_base.tiktoken",
        "tiktoken-encodings/o200k_base.tiktoken",
    ]
    assert wanted[0]["url"].startswith("https://openaipublic.blob.core.windows.net/encodings/cl100k")
    assert weights_plan.vocabularies(samples.settings(2, model="microsoft/phi-4")) == []
    assert weights_plan.vocabularies(samples.settings(2, model="unsloth/gpt-oss-120b")) == wanted
    other = samples.settings(2, model="ArliAI/Derestricted")
    assert weights_plan.vocabularies(other, "GptOssForCausalLM") == wanted
    assert weights_plan.vocabularies(other, "LlamaForCausalLM") == []


def test_progress_has_amounts_rate_and_time_left():
    progress = Progress(["spark-a", "spark-b"])
    status = {"size": 4e9, "bytes": 1e9, "arriving": [["m-1", 500_000_000, 1_000_000_000]], "note": ""}
    progress.line(0.0, {0: status})
    status = {**status, "bytes": 2e9, "arriving": [["m-1", 750_000_000, 1_000_000_000]]}
    line = progress.line(2.0, {0: status, 1: {"size": 0}})
    assert line == ("spark-a: 2.00 GB of 4.00 GB, 0.50 GB/s, 4 s left (m-1 75 %, 0.12 GB/s, 2 s left)")
