"""More than two: the same program with a longer list, on three simulated Sparks of their own."""

from __future__ import annotations

import pytest
import requests

from tests.lab import stack as stacks
from tests.lab.sparks import fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "test-three"
RESOURCES = 30


@pytest.fixture
def three(tmp_path):
    with fresh(NAME, "--nodes", "3", *stacks.PREPARED) as lab:
        yield stacks.create(tmp_path / "project", lab)


def test_three_nodes_answer_and_are_given_back(three):
    before = stacks.leavings(three.lab)
    three.set("model", "Qwen/Qwen2.5-7B-Instruct")  # gpt-oss cannot be split by layers,
    three.set("tensorParallel", 1)  # and no catalog model has heads for three
    assert three.up().counts == {"created": RESOURCES}
    assert sorted(line.split(":")[0] for line in three.output("transport")) == [
        "spark-1",
        "spark-2",
        "spark-3",
    ]
    body = {"model": three.output("model"), "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    answer = requests.post(f"{three.output('endpoint')}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200
    assert three.up().counts == {"unchanged": RESOURCES}
    assert three.destroy().counts == {"deleted": RESOURCES}
    stacks.same(three.lab, before)
