"""From a state that went wrong: `up` gets there, `destroy` ends with the machines as they were."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]
MODEL = "openai/gpt-oss-20b"


@pytest.fixture
def stack(lab, tmp_path):
    one = stacks.create(tmp_path / "project", lab)
    one.set("model", MODEL)
    one.before = stacks.leavings(lab)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def serves(stack, model: str = MODEL) -> None:
    assert stack.output("model") == model
    assert stacks.answers(f"{stack.output('endpoint')}/health")
    run = stack.up()
    assert set(run.counts) == {"unchanged"}, run.text


def test_a_first_deployment_that_fails_is_destroyed(stack, lab):
    stack.set("model", "lab/crash-at-load")
    stack.set("readyTimeout", 30)
    run = stack.up(ok=False)
    assert run.code
    assert "lab/crash-at-load" in run.text
    stack.destroy()
    stacks.same(lab, stack.before)


def test_after_a_first_deployment_that_failed_another_model_is_deployed(stack, lab):
    stack.set("model", "lab/crash-at-load")
    stack.set("readyTimeout", 30)
    assert stack.up(ok=False).code
    stack.set("model", MODEL)
    stack.set("readyTimeout", 120)
    stack.up()
    serves(stack)
    stack.destroy()
    stacks.same(lab, stack.before)


def test_a_swarm_that_the_head_left_is_made_anew_by_up_alone(stack, lab):
    stack.up()
    stacks.inside(lab, 0, "docker swarm leave --force")
    stack.up()
    serves(stack)
    stacks.inside(lab, 0, "docker swarm leave --force")
    stack.destroy()
    stacks.same(lab, stack.before)


def lose_state(stack) -> None:
    stack.pulumi("stack", "export", "--file", "kept.json")
    lost = json.loads((stack.folder / "kept.json").read_text())
    lost["deployment"]["resources"] = []
    (stack.folder / "lost.json").write_text(json.dumps(lost))
    stack.pulumi("stack", "import", "--file", "lost.json")


def test_a_lost_state_is_adopted_and_destroyed_to_the_end(stack, lab):
    """With an MPI key that somebody removed in between, and at last on fewer machines: nothing but the Swarm
    knows of the one that is left out.
    """
    stack.up()
    lose_state(stack)
    stack.up()
    serves(stack)
    stacks.inside(lab, 0, "docker service rm trtspark-lab-rank-0 && docker secret rm trtspark-lab-mpi-key")
    stack.up()
    serves(stack)
    lose_state(stack)
    stack.set("nodes", stack.get("nodes")[:1])
    stack.up()
    serves(stack)
    assert stacks.inside(lab, 1, stacks.LEAVINGS) == stack.before[1]
    stack.destroy()
    stacks.same(lab, stack.before)


def test_a_renamed_stack_takes_its_machines_over(stack, lab):
    stack.up()
    stack.pulumi("stack", "rename", "other")
    run = stack.pulumi("preview", ok=False)
    assert "takeOver lab" in run.text
    stack.pulumi("config", "set", "takeOver", "lab")
    stack.up()
    serves(stack)
    stack.destroy()
    stacks.same(lab, stack.before)


def test_a_second_stack_is_refused_at_preview_and_its_destroy_touches_nothing(stack, lab, tmp_path):
    stack.up()
    serving = stacks.leavings(lab)
    second = stacks.create(tmp_path / "second", lab, name="two")
    second.set("port", 8400)
    run = second.pulumi("preview", ok=False)
    assert run.code
    assert "it belongs to stack lab" in run.text
    assert second.up(ok=False).code
    second.destroy()
    assert stacks.leavings(lab) == serving
    serves(stack)
    stack.destroy()
    stacks.same(lab, stack.before)


def test_swapped_nodes_are_refused_before_anything_stops(stack, lab):
    stack.up()
    nodes = stack.get("nodes")
    stack.set("nodes", nodes[::-1])
    run = stack.up(ok=False)
    assert run.code
    assert "manages the Swarm" in run.text
    assert stacks.answers(f"{stack.output('endpoint')}/health")
    stack.set("nodes", nodes)
    serves(stack)
    stack.destroy()
    stacks.same(lab, stack.before)


def drift(stack) -> list[str]:
    words = [sys.executable, "-m", "trtspark", "--stack", "lab", "status", "--json"]
    done = subprocess.run(words, cwd=stack.folder, env=stack.env, capture_output=True, text=True, check=False)
    found: list[str] = json.loads(done.stdout)["drift"]
    return found


def test_a_paused_rank_is_named_and_is_a_change_that_up_makes_good(stack, lab):
    """Swarm calls it running, and so does Pulumi's state."""
    stack.up()
    for rank in (0, 1):
        container = f"$(docker ps -q --filter label=trtspark.rank={rank})"
        stacks.inside(lab, rank, f"docker pause {container}")
        assert f"rank {rank} is paused: `pulumi up` starts it again" in drift(stack)
        assert re.search(rf"trtllm-rank-{rank}\s+update", stack.pulumi("preview").text)
        stack.up()
        serves(stack)
        assert drift(stack) == []
    stack.destroy()
    stacks.same(lab, stack.before)


def test_where_sshd_forwards_nothing_docker_is_reached_all_the_same(stack, lab):
    forbid = "sed -i '1iDisableForwarding yes' /etc/ssh/sshd_config && pkill -HUP -o -x sshd"
    allow = "sed -i '1{/^DisableForwarding/d}' /etc/ssh/sshd_config && pkill -HUP -o -x sshd"
    for node in (0, 1):
        stacks.inside(lab, node, forbid)
    try:
        stack.up()
        serves(stack)
        stack.destroy()
    finally:
        for node in (0, 1):
            stacks.inside(lab, node, allow)
    stacks.same(lab, stack.before)
