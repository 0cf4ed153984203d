"""Releases, their order and their options."""

import pytest

from lab.engine.tensorrt_llm.options import options_of
from lab.engine.tensorrt_llm.version import at_least, order


def spellings(version: str) -> set[str]:
    return {name for option in options_of(version) for name in option.names(version)}


def test_candidates_come_before_the_release():
    releases = ["1.3.0rc29", "1.2.0", "1.2.0rc4", "1.3.0", "1.3.0rc5", "1.2.1"]
    assert sorted(releases, key=order) == ["1.2.0rc4", "1.2.0", "1.2.1", "1.3.0rc5", "1.3.0rc29", "1.3.0"]


def test_the_simulated_release_comes_from_the_image(monkeypatch):
    monkeypatch.setenv("TRT_LLM_VERSION", "1.2.0rc4")
    assert not at_least("1.3.0rc1")


def test_something_else_is_not_a_release():
    with pytest.raises(ValueError, match="Not a release"):
        order("latest")


@pytest.mark.parametrize(
    ("name", "releases"),
    [
        ("tp_size", "LEN"),
        ("tensor_parallel_size", "EN"),
        ("kv_cache_free_gpu_memory_fraction", "LEN"),
        ("free_gpu_memory_fraction", "EN"),
        ("extra_llm_api_options", "LEN"),
        ("config", "EN"),
        ("revision", "EN"),
        ("hf_revision", "N"),
        ("tool_parser", "EN"),
        ("served_model_name", "N"),
        ("kv_cache_dtype", "N"),
        ("extra_visual_gen_options", "EN"),
        ("set", ""),
        ("api_key", ""),
    ],
)
def test_which_release_has_an_option(name, releases):
    ages = {"L": "1.2.0rc4", "E": "1.3.0rc5", "N": "1.3.0rc29"}
    assert "".join(age for age, version in ages.items() if name in spellings(version)) == releases


@pytest.mark.parametrize("version", ["1.2.0rc4", "1.3.0rc5", "1.3.0rc29", "1.4.0rc1"])
def test_no_spelling_twice(version):
    names = [name for option in options_of(version) for name in option.names(version)]
    assert len(names) == len(set(names))
