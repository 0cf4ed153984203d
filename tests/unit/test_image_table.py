"""What is known of each image: the table, and what preflight says by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster import checks, image_table
from cluster.config import DEFAULT_IMAGE
from cluster.facts import Facts, Image
from cluster.image_table import ENTRIES, KINDS, judged, served, verdict
from cluster.model_config import shape
from cluster.registry import Answer, Answers
from cluster.release import release
from tests import samples
from tests.checkpoints import config

OURS = "nvcr.io/nvidia/tensorrt-llm/release"
DIGEST, OTHER = (f"sha256:{letter * 64}" for letter in "ab")
ENV = {"TRT_LLM_VERSION": "1.3.0rc5", "CUDA_VERSION": "13.0.2.006", "CUDA_DRIVER_VERSION": "580.95.05"}


def word(text: str, ranks: int, model: str = "openai/gpt-oss-120b", backend: str = "pytorch") -> str | None:
    return verdict(judged(release(text), ranks, served(model, None, backend)))


@pytest.mark.parametrize(
    ("text", "one", "two"),
    [
        ("1.2.0", "ok", "warn"),
        ("1.2.1", "ok", "ok"),
        ("1.3.0rc3", None, None),
        ("1.3.0rc5", None, "ok"),
        ("1.3.0rc5.post2", "ok", "ok"),
        ("1.3.0rc7", None, None),
        ("1.3.0rc8", None, "refuse"),
        ("1.3.0rc9", "ok", "refuse"),
        ("1.3.0rc13", "ok", "refuse"),
        ("1.3.0rc17", "ok", "refuse"),
        ("1.3.0rc17.post1", "ok", "refuse"),
        ("1.3.0rc18", "ok", "warn"),
        ("1.3.0rc19", "ok", "warn"),
        ("1.3.0rc20", "ok", "ok"),
        ("1.3.0rc24", "ok", "warn"),
        ("1.3.0rc27", "ok", "ok"),
        ("1.4.0rc4", "ok", "ok"),
    ],
)
def test_the_tags_history(text, one, two):
    """gpt-oss is a mixture of experts in MXFP4, which rc24 serves less accurately on two."""
    assert (word(text, 1), word(text, 2)) == (one, two)


def test_a_model_without_an_architecture():
    gemma = "google/gemma-2-27b-it"
    assert word("1.3.0rc3", 1, gemma) == word("1.3.0rc20", 2, gemma) == "refuse"
    assert word("1.3.0rc5", 2, gemma, "_autodeploy") == "ok"
    assert word("1.3.0rc5", 2, "google/gemma-3-27b-it") == "ok"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen3-235B-A22B-FP8", "refuse"),
        ("nvidia/Qwen3-235B-A22B-FP4", "warn"),
        ("Qwen/Qwen3-30B-A3B", "ok"),
        ("Qwen/Qwen3-32B-FP8", "ok"),
    ],
)
def test_what_rc24_does_to_mixtures_of_experts(model, expected):
    assert word("1.3.0rc24", 2, model) == expected


def test_a_configuration_tells_more_than_a_name():
    found = served("somebody/fine-tune", shape(config("gemma-2-27b-it")))
    assert verdict(judged(release("1.3.0rc3"), 1, found)) == "refuse"
    mixture = served("somebody/mine", shape(config("gpt-oss-120b")))
    assert mixture.mixture
    assert verdict(judged(release("1.3.0rc24"), 2, mixture)) == "warn"


def test_every_entry_can_be_told():
    """Bounds are releases, kinds are there, what is wrong has a way out and a source."""
    for entry in ENTRIES:
        assert entry.models in KINDS
        low, high = (release(text) if text else None for text in (entry.first, entry.last))
        assert low is None or high is None or low <= high
        assert entry.verdict == "ok" or (entry.todo and entry.links), entry.id
        assert entry.reason.endswith(".")
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)


def test_the_default_image_is_known_to_work_on_two():
    assert word(DEFAULT_IMAGE.rpartition(":")[2], 2) == "ok"


def nodes(*images: Image | None, driver: str = "580.142", cuda: str = "13.0") -> list[Facts]:
    return [
        dataclasses.replace(
            one,
            driver=driver,
            cuda=cuda,
            docker=dataclasses.replace(one.docker, image=image, image_known=True, platform="linux/arm64"),
        )
        for one, image in zip(samples.facts(len(images)), images, strict=True)
    ]


def have(digest: str = DIGEST, platform: str = "linux/arm64", name: str = OURS, **env: str) -> Image:
    return Image((f"{name}@{digest}",), platform, {**ENV, **env})


def said(
    listed: list[Facts], image: str = f"{OURS}:1.3.0rc5", asked: Answers | None = None, **changes: Any
) -> list[tuple[str, str, str]]:
    """(level, check, message) of the checks of images."""
    caches = [samples.cache() for _ in listed]
    settings = samples.settings(len(listed), image=image, **changes)
    context = checks.Context("dgx", settings, listed, caches, None, asked)
    return [(one.level, one.check, str(one)) for one in checks.findings(context) if "image." in one.check]


def test_an_image_that_is_right_is_not_talked_about():
    assert said(nodes(have(), have())) == []


def test_a_release_that_crashes_on_two_is_refused_before_it_is_pulled():
    (found,) = said(nodes(None, None), f"{OURS}:1.3.0rc13")
    assert found[:2] == ("FAIL", "image.release")
    assert found[2].startswith("TensorRT-LLM 1.3.0rc13 on 2 ranks: Ranks on two machines crash")
    assert "issues/12715" in found[2]
    assert "`pulumi config set allowUntestedImage true`" in found[2]
    assert said(nodes(None), f"{OURS}:1.3.0rc13") == []


def test_the_override_is_a_warning_that_does_not_name_it():
    (found,) = said(nodes(None, None), f"{OURS}:1.3.0rc13", allowUntestedImage=True)
    assert found[0] == "WARN"
    assert "allowUntestedImage" not in found[2]


def test_a_stopped_stack_may_have_any_image():
    assert said(nodes(None, None), f"{OURS}:1.3.0rc13", running=False) == []


def test_the_images_own_word_is_surer_than_its_tag():
    lying = have(TRT_LLM_VERSION="1.3.0rc13")
    assert [one[:2] for one in said(nodes(lying, None))] == [("FAIL", "image.release")]
    own = have(name="example.com/mine", TRT_LLM_VERSION="1.3.0rc13")
    assert [one[:2] for one in said(nodes(own, own), "example.com/mine:7")] == [("FAIL", "image.release")]


def test_a_name_of_ones_own_is_a_note_until_it_is_there():
    (found,) = said(nodes(None, None), "example.com/mine:7")
    assert found[0] == "NOTE"
    asked = answers("there", operator=Answer("there", env={"TRT_LLM_VERSION": "1.3.0rc13"}))
    assert [one[:2] for one in said(nodes(None, None), "example.com/mine:7", asked)] == [
        ("FAIL", "image.release")
    ]


@pytest.mark.parametrize(
    ("env", "driver", "cuda", "level", "part"),
    [
        ({}, "580.82.09", "13.0", "WARN", "580.95 or later, and this machine has 580.82.09"),
        ({}, "580.95.05", "13.0", "", ""),
        ({}, "590.44", "13.1", "", ""),
        ({"CUDA_VERSION": "13.1.0", "CUDA_DRIVER_VERSION": "590.44.01"}, "580.142", "13.0", "", ""),
        (
            {"CUDA_VERSION": "13.0.2"},
            "570.86",
            "12.8",
            "FAIL",
            "is for CUDA 12.8, and the image needs CUDA 13",
        ),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=13.1"}, "580.142", "13.0", "FAIL", "the image needs CUDA 13.1"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=13.1 brand=tesla,driver>=580"}, "580.142", "13.0", "", ""),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=9.0"}, "", "", "", ""),
        ({"CUDA_VERSION": "x.y", "CUDA_DRIVER_VERSION": "new"}, "580.142", "13.0", "", ""),
    ],
)
def test_the_driver(env, driver, cuda, level, part):
    found = said(nodes(have(**env), driver=driver, cuda=cuda))
    assert [one[:2] for one in found] == ([(level, "image.driver")] if level else [])
    assert not found or part in found[0][2]


def test_an_old_driver_can_be_overridden():
    (found,) = said(nodes(have(), driver="570.86", cuda="12.8"), allowUntestedImage=True)
    assert found[0] == "WARN"


def test_an_image_for_other_processors():
    (found,) = said(nodes(have(platform="linux/amd64")))
    assert found[1] == "image.platform"
    assert "is for linux/amd64, and this machine runs linux/arm64" in found[2]
    (found,) = said(nodes(None), asked=answers("there", platforms=("linux/amd64", "linux/s390x")))
    assert "is for linux/amd64, linux/s390x" in found[2]
    assert said(nodes(None), asked=answers("there", platforms=("linux/amd64", "linux/arm64"))) == []


def test_a_tag_that_moved():
    (found,) = said(nodes(have(), have(OTHER)))
    assert found[:2] == ("FAIL", "image.digest")
    assert "10.24.11.11 has sha256:aaaaaaaaaaaa, 10.24.11.12 has sha256:bbbbbbbbbbbb" in found[2]
    listed = nodes(have(), None)
    (found,) = said(listed, asked=answers("there", digest=OTHER, lacking=listed[1].node))
    assert "10.24.11.12 would pull sha256:bbbbbbbbbbbb" in found[2]
    assert said(listed, asked=answers("there", digest=DIGEST, lacking=listed[1].node)) == []
    loaded = dataclasses.replace(have(), digests=())
    assert said(nodes(loaded, have())) == []


def test_an_image_that_nobody_pulls_must_be_there():
    found = said(nodes(have(), None), pullImage=False)
    assert [one[:2] for one in found] == [("FAIL", "image.there")]
    assert found[0][2].startswith("10.24.11.12: it has no image")


def answers(
    word: Any,
    node_said: str = "",
    operator: Answer | None = None,
    lacking: str = "10.24.11.11",
    **of_node: Any,
) -> Answers:
    return Answers((lacking,), lacking, Answer(word, node_said, **of_node), operator or Answer("silent"))


@pytest.mark.parametrize(
    ("word", "operator", "level", "parts"),
    [
        (
            "missing",
            "missing",
            "FAIL",
            ["cannot be pulled: nvcr.io has no such image (what it said)", "spelt"],
        ),
        (
            "denied",
            "denied",
            "FAIL",
            ["wants a login, or has no such image", "docker login nvcr.io"],
        ),
        ("untrusted", "there", "FAIL", ["Docker does not trust", "/etc/docker/certs.d/nvcr.io/ca.crt"]),
        (
            "unreachable",
            "there",
            "FAIL",
            ["Docker cannot reach nvcr.io", "From this machine the registry answers"],
        ),
        ("unreachable", "unreachable", "FAIL", ["Is the registry up?"]),
        (
            "silent",
            "missing",
            "WARN",
            ["gave no usable answer", "Asked from this machine: nvcr.io has no such"],
        ),
        ("busy", "silent", "WARN", ["perhaps cannot be pulled", "`up` tries it"]),
    ],
)
def test_a_registry_that_does_not_give_it(word, operator, level, parts):
    asked = answers(word, "what it said", Answer(operator))
    (found,) = said(nodes(None), asked=asked)
    assert found[:2] == (level, "image.registry")
    assert found[2].startswith(f"10.24.11.11: {OURS}:1.3.0rc5 ")
    for part in parts:
        assert part in found[2]


def test_what_the_node_gets_is_enough():
    assert said(nodes(None), asked=answers("there", operator=Answer("unreachable"))) == []


def test_sentences_name_the_model_where_it_matters():
    entry = next(one for one in ENTRIES if one.id == "gemma-2")
    gemma = served("google/gemma-2-27b-it", None)
    found, _ = image_table.sentences(release("1.3.0rc5"), 2, gemma, entry, True)
    assert found.startswith("TensorRT-LLM 1.3.0rc5 with google/gemma-2-27b-it: The PyTorch backend")
