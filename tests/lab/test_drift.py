"""What somebody changes by hand behind the program's back: `refresh` names it, `up` repairs it.

One story on one pair: each test goes on where the one before ended.
"""

from __future__ import annotations

import json

import pytest

from tests.lab import stack as stacks
from tests.lab.sparks import lab as lab_command

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-drift"
OTHER = "1.3.0rc5-nossh"
MODEL, OTHER_MODEL = "openai/gpt-oss-120b", "openai/gpt-oss-20b"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    lab_command("down", name=NAME)
    try:
        lab_command("up", "--nodes", "2", *stacks.PREPARED, "--image", OTHER, name=NAME, deadline=1800)
        lab = json.loads((stacks.ROOT / ".lab" / NAME / "lab.json").read_text())
        one = stacks.create(tmp_path_factory.mktemp("drift") / "project", lab)
        one.before = stacks.leavings(lab)
        one.up()
        yield one
        one.pulumi("destroy", "--yes", "--skip-preview", ok=False)
    finally:
        lab_command("down", name=NAME)


def head(stack, command: str) -> str:
    return stacks.inside(stack.lab, 0, command).strip()


def service(stack, rank: int) -> str:
    return head(stack, f"docker service ls -q --filter label=trtspark.rank={rank}")


def shown(stack) -> str:
    """What `refresh` says differs."""
    run = stack.pulumi("refresh", "--yes", "--skip-preview", "--diff")
    assert run.counts.get("updated", 0) + run.counts.get("deleted", 0) > 0, run.text
    return run.text


def repaired(stack) -> None:
    """`up` mends it, the right model answers, and there is nothing more to do."""
    stack.up()
    assert stack.output("model") == MODEL
    assert stacks.answers(f"{stack.output('endpoint')}/health")
    run = stack.up()
    assert set(run.counts) == {"unchanged"}, run.text


def test_a_service_scaled(stack):
    head(stack, f"docker service scale --detach {service(stack, 0)}=0")
    stacks.until(lambda: not head(stack, "docker ps -q --filter label=trtspark.rank=0"), 60, "its end")
    text = shown(stack)
    assert "trtllm-rank-0" in text
    assert "Replicas" in text
    repaired(stack)


def test_a_service_edited(stack):
    head(stack, f"docker service update --detach --env-add NCCL_DEBUG=TRACE {service(stack, 1)}")
    assert "NCCL_DEBUG=TRACE" in shown(stack)
    repaired(stack)


def test_a_service_removed(stack):
    head(stack, f"docker service rm {service(stack, 1)}")
    assert "trtllm-rank-1" in shown(stack)
    repaired(stack)
