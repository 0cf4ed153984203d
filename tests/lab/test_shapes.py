"""Shapes of clusters on simulated Sparks of their own: a ring of three, four behind a switch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.lab import stack as stacks
from tests.lab.sparks import fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "test-shape"
#: The first image whose NCCL finds its way around a ring.
RING_RELEASE = "1.3.0rc29"


@pytest.fixture
def lab(request) -> Iterator[dict[str, Any]]:
    """A lab by the words of `lab up`."""
    with fresh(NAME, *stacks.PREPARED, *request.param) as found:
        yield found


def answers(stack: stacks.Stack) -> bool:
    body = {"model": stack.output("model"), "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    return requests.post(f"{stack.output('endpoint')}/v1/chat/completions", json=body, timeout=30).ok


def newer_image(lab: dict[str, Any]) -> str:
    """The lab's image as a later release, with that release's NCCL: built and pushed by the first node."""
    image = lab["image"].rpartition(":")[0] + f":{RING_RELEASE}"
    change = f"--change 'ENV TRT_LLM_VERSION={RING_RELEASE}'"
    stacks.inside(
        lab,
        0,
        f"docker pull -q {lab['image']}; id=$(docker create {lab['image']});"
        f" docker commit {change} $id {image}; docker rm $id; docker push -q {image}",
    )
    return image


@pytest.mark.parametrize("lab", [["--nodes", "3", "--fabric", "ring"]], indirect=True)
def test_a_ring_of_three(lab, tmp_path):
    stack = stacks.create(tmp_path / "project", lab)
    stack.set("model", "openai/gpt-oss-20b")
    refused = stack.pulumi("preview", ok=False)
    assert "which 3 nodes cannot share out evenly" in refused.text
    assert "It cannot be split by layers either: use 2 nodes." in refused.text
    stack.set("model", "Qwen/Qwen2.5-7B-Instruct")
    refused = stack.pulumi("preview", ok=False)
    assert "`pulumi config set tensorParallel 1` gives tensor 1 x pipeline 3" in refused.text
    stack.set("tensorParallel", 1)
    stack.set("readyTimeout", 90)

    old = stack.up(ok=False)
    assert "NCCL can use from 2.30.7 on" in old.text
    assert "Likely cause: NCCL paired two halves that are not in one subnet" in old.text

    stack.set("image", newer_image(lab))
    stack.up()
    assert len(stack.output("fabric")) == 6
    transport = stack.output("transport")
    assert [line.partition(":")[0] for line in transport] == ["spark-1", "spark-2", "spark-3"]
    assert all(line.count("bytes)") == 4 for line in transport)
    assert answers(stack)
    stack.destroy()


@pytest.mark.parametrize(
    "lab",
    [["--nodes", "4", "--variant", "spark-2:renamed-hcas", "--variant", "spark-3:cable-port1"]],
    indirect=True,
)
def test_four_behind_a_switch_with_mixed_names_and_ports(lab, tmp_path):
    stack = stacks.create(tmp_path / "project", lab)
    stack.set("model", "openai/gpt-oss-20b")
    stack.up()
    transport = stack.output("transport")
    assert "mlx5_0 (moved" in transport[1]
    assert "mlx5_2 (moved" in transport[1]
    assert "rocep1s0f1 (moved" in transport[2]
    assert len(stack.output("fabric")) == 8
    assert answers(stack)
    stack.destroy()
