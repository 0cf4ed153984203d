"""Releases of TensorRT-LLM: what is one, and which comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.image_name import ImageName, parsed
from cluster.release import Release, parse, release

ORDERED = [
    "1.2.0rc4", "1.2.0rc10", "1.2.0", "1.2.0.post1", "1.2.1", "1.3.0rc3", "1.3.0rc5", "1.3.0rc5.post1",
    "1.3.0rc5.post2", "1.3.0rc6", "1.3.0rc20", "1.3.0", "1.4.0rc4", "1.10.0", "2.0.0rc0",
]  # fmt: skip
RELEASES = st.builds(
    lambda numbers, candidate, post: (
        ".".join(map(str, numbers))
        + ("" if candidate is None else f"rc{candidate}")
        + (f".post{post}" if post else "")
    ),
    st.tuples(*[st.integers(0, 9999)] * 3),
    st.none() | st.integers(0, 9999),
    st.integers(0, 9999),
)


def key(text: str) -> tuple[list[int], int, int, int]:
    """The order said another way: numbers, then candidates before the release, then posts."""
    rest, _, post = text.partition(".post")
    numbers, _, candidate = rest.partition("rc")
    return [int(one) for one in numbers.split(".")], not candidate, int(candidate or 0), int(post or 0)


def test_the_order_of_what_was_published():
    mixed = list(reversed(ORDERED))
    mixed.sort(key=release)
    assert mixed == ORDERED


@given(RELEASES, RELEASES)
def test_any_two_are_ordered_as_python_orders_versions(one, other):
    assert (release(one) < release(other)) == (key(one) < key(other))
    assert (release(one) == release(other)) == (key(one) == key(other))


@given(RELEASES)
def test_a_release_is_written_as_it_was_read(text):
    assert str(release(text)) == text
    assert release(text).base <= release(text)


@pytest.mark.parametrize(
    "text", ["", "latest", "1.3", "1.3.0rc", "1.3.0-rc5", "1.3.0.dev2026", "1" * 9, "\uff11.3.0"]
)
def test_anything_else_is_none(text):
    assert parse(text) is None


@given(st.text())
def test_no_text_breaks_it(text):
    parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5",
            ImageName("nvcr.io", "nvidia/tensorrt-llm/release", "1.3.0rc5", ""),
        ),
        ("10.0.0.1:5000/a/b", ImageName("10.0.0.1:5000", "a/b", "latest", "")),
        ("localhost/a:b", ImageName("localhost", "a", "b", "")),
        ("debian:12", ImageName("docker.io", "library/debian", "12", "")),
        ("someone/trtllm:x@sha256:ab", ImageName("docker.io", "someone/trtllm", "x", "sha256:ab")),
        ("docker.io/a/b@sha256:ab", ImageName("docker.io", "a/b", "", "sha256:ab")),
    ],
)
def test_the_parts_of_a_name(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc5", "1.3.0rc5"),
        ("10.0.0.1:5000/nvidia/tensorrt-llm/release:1.3.0rc5.post1", "1.3.0rc5.post1"),
        ("me/trtllm:1.3.0rc27-nossh", "1.3.0rc27"),
        ("me/tensorrt_llm:v1.2.1", "1.2.1"),
        ("me/postgres:1.2.1", "None"),
        ("nvcr.io/nvidia/tensorrt-llm/release:latest", "None"),
        ("nvcr.io/nvidia/tensorrt-llm/release@sha256:" + "a" * 64, "None"),
    ],
)
def test_the_release_that_a_tag_names(text, expected):
    assert str(parsed(text).release) == expected


def test_docker_hubs_api_is_elsewhere():
    assert parsed("debian").api == "registry-1.docker.io"
    assert parsed("nvcr.io/a/b:1").api == "nvcr.io"
    assert isinstance(release("1.2.1"), Release)
