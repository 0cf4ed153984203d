"""RDMA as a proven fact on simulated Sparks: what is broken is found, and named with its cause.

The tests of this file are one story on one pair.
"""

from __future__ import annotations

import json

import pytest

from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]
RUNTIME = "/usr/bin/nvidia-container-runtime"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("transport") / "project", lab)
    one.set("model", "openai/gpt-oss-20b")
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)
    stacks.lab_command(lab, "link", "up", "spark-2", "half1")


def test_the_cables_are_tested_and_the_ranks_proven(stack):
    run = stack.up()
    lines = stack.output("fabric")
    assert len(lines) == 2
    for line, subnet in zip(lines, ("192.168.100.0/24", "192.168.101.0/24"), strict=True):
        assert f"({subnet}): MTU 1500 passes both ways, TCP " in line
        assert "link 200" in line
    assert "warning" not in run.text
    for line in stack.output("transport"):
        assert line.count("bytes)") == 2


def test_sockets_in_spite_of_the_fabric_are_refused_naming_the_rank_and_what_nccl_said(stack, lab):
    """A container that gets no RDMA devices, as from a toolkit that does not know NVIDIA_MOFED."""
    stacks.inside(lab, 1, f"mv {RUNTIME} {RUNTIME}.whole")
    stacks.inside(
        lab,
        1,
        f"printf '#!/bin/sh\\nexport TRTSPARK_LAB_WITHOUT_RDMA=1\\nexec {RUNTIME}.whole \"$@\"\\n' > {RUNTIME};"
        f" chmod 755 {RUNTIME}; rm -f /dev/infiniband/uverbs* /dev/infiniband/rdma_cm;"
        " docker ps -q --filter label=trtspark.rank | xargs docker kill",
    )
    stack.set("maxBatchSize", 2)
    run = stack.up(ok=False)
    assert run.code != 0
    assert "the container has no RDMA devices" in run.text
    assert f"rank 1 ({lab['nodes'][1]['host']})" in run.text
    assert "NCCL said: 'NET/IB : Unable to open device" in run.text


def test_sockets_will_do_when_the_user_says_so(stack, lab):
    stack.set("transport", "any")
    run = stack.up()
    assert run.code == 0
    assert any("NET/Socket" in line for line in stack.output("transport"))
    assert json.dumps(stack.output("transport"))
