"""RDMA as a proven fact on simulated Sparks: what is broken is found, and named with its cause.

The tests of this file are one story on one pair.
"""

from __future__ import annotations

import pytest

from tests.lab import stack as stacks

HALF_1 = "192.168.101.12/24"
pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("transport") / "project", lab)
    one.set("model", "openai/gpt-oss-20b")
    one.set("readyTimeout", 60)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)
    stacks.inside(lab, 1, f"ip addr add {HALF_1} dev enP2p1s0f0np0")  # as the next file expects it


def container_of_rank_1(lab) -> None:
    """Make it anew, so that it gets what its node now has."""
    mine = "docker ps --quiet --filter label=trtspark.rank=1"
    stacks.inside(lab, 1, f"{mine} | xargs --no-run-if-empty docker kill")


def test_the_cables_are_tested_and_the_ranks_proven(stack):
    stack.up()
    lines = stack.output("fabric")
    assert len(lines) == 2
    for line, subnet in zip(lines, ("192.168.100.0/24", "192.168.101.0/24"), strict=True):
        assert f"({subnet}): MTU 9000 passes both ways, TCP " in line
        assert "link 200" in line
    for line in stack.output("transport"):
        assert line.count("bytes)") == 2


def test_a_container_without_rdma_devices_fails_naming_the_rank_and_the_cause(stack, lab):
    """As from a toolkit that does not know NVIDIA_MOFED, or another default runtime."""
    stacks.inside(lab, 1, "mv /dev/infiniband /dev/infiniband-gone")
    container_of_rank_1(lab)
    stack.set("maxBatchSize", 2)
    run = stack.up(ok=False)
    assert run.code != 0
    assert f"rank 1 ({lab['nodes'][1]['host']}): NCCL said: " in run.text
    assert "Likely cause: the container has no RDMA devices" in run.text, run.text


def test_sockets_will_do_when_the_user_says_so(stack, lab):
    """On all nodes: NCCL itself connects no HCA with a socket."""
    stacks.inside(lab, 0, "mv /dev/infiniband /dev/infiniband-gone")
    stack.set("transport", "any")
    stack.up()
    assert all("NET/Socket" in line for line in stack.output("transport"))


def test_repaired_it_is_proven_again(stack, lab):
    for node in (0, 1):
        stacks.inside(lab, node, "mv /dev/infiniband-gone /dev/infiniband")
    stack.set("transport", None)
    stack.up()
    assert all("NET/IB" in line for line in stack.output("transport"))


def test_a_gid_that_is_not_there_is_named(stack, lab):
    stack.set("nccl", {"NCCL_IB_GID_INDEX": "7"})
    run = stack.up(ok=False)
    assert run.code != 0
    assert "NCCL_IB_GID_INDEX=7 in `nccl` applies to every RDMA device at every start" in run.text
    assert "Likely cause: there is no GID at that index" in run.text, run.text
    stack.set("nccl", None)


def test_one_half_without_an_address_is_a_warning_and_the_other_is_used(stack, lab):
    stacks.inside(lab, 1, "ip addr flush dev enP2p1s0f0np0")
    run = stack.up()
    assert "half 1 of the cable (enP2p1s0f0np0, roceP2p1s0f0) has no IPv4 address" in run.text
    assert len(stack.output("fabric")) == 1
    assert all("roceP2p1s0f0" not in line for line in stack.output("transport"))
