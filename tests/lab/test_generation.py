"""The whole path on Sparks of their own generation: Docker 29, NVIDIA's runtime, OpenMPI 4.1 and then 5."""

from __future__ import annotations

import pytest
import requests

from tests.lab import stack as stacks
from tests.lab.sparks import DOCKER_29, fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-generation"
OPENMPI_5 = "1.3.0rc27"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with fresh(NAME, "--nodes", "2", *DOCKER_29, "--image", OPENMPI_5, *stacks.PREPARED) as lab:
        one = stacks.create(tmp_path_factory.mktemp("generation") / "project", lab)
        one.before = stacks.leavings(lab)
        yield one
        one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def answer(stack) -> str:
    body = {
        "model": stack.output("model"),
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 64,
    }
    got = requests.post(f"{stack.output('endpoint')}/v1/chat/completions", json=body, timeout=30)
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["message"]["content"]).replace(" ", "")


def mpirun(stack) -> str:
    command = "docker exec $(docker ps -q --filter label=trtspark.rank=0) mpirun --version"
    return stacks.inside(stack.lab, 0, command)


@pytest.mark.parametrize("version", ["1.3.0rc5", OPENMPI_5])
def test_both_nodes_answer_over_rdma(stack, version):
    stack.set("image", stack.lab["images"][version])
    stack.up()
    assert f"(Open MPI) {5 if version == OPENMPI_5 else 4}." in mpirun(stack)
    text = answer(stack)
    assert "spark-1" in text
    assert "spark-2" in text
    assert all("NET/IB" in line for line in stack.output("transport"))
    unchanged = stack.up().counts
    assert set(unchanged) == {"unchanged"}, unchanged


def test_destroy_gives_the_machines_back(stack):
    stack.destroy()
    stacks.same(stack.lab, stack.before)
