"""What somebody changes by hand behind the program's back: `refresh` names it, `up` repairs it.

One story on one pair: each test goes on where the one before ended.
"""

from __future__ import annotations

import json

import pytest

from tests.lab import stack as stacks
from tests.lab.sparks import fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-drift"
OTHER = "1.3.0rc5-nossh"
MODEL, OTHER_MODEL = "openai/gpt-oss-120b", "openai/gpt-oss-20b"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with fresh(NAME, "--nodes", "2", *stacks.PREPARED, "--image", OTHER) as lab:
        one = stacks.create(tmp_path_factory.mktemp("drift") / "project", lab)
        one.before = stacks.leavings(lab)
        one.up()
        yield one
        one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


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
    assert stacks.answers(f"{stack.output('endpoint')}/health")  # still: nothing was started twice


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


def test_another_image_in_the_container(stack):
    """By hand, with the worker's rank as it is but for its image."""
    image = stack.lab["images"][OTHER]
    head(stack, f"docker service update --detach --with-registry-auth --image {image} {service(stack, 1)}")
    find = "docker ps --no-trunc --format '{{.Image}}' --filter label=trtspark.rank=1"
    stacks.until(lambda: OTHER in stacks.inside(stack.lab, 1, find), 90, "the other image to run")
    text = shown(stack)
    assert "trtllm-rank-1" in text
    assert OTHER in text
    repaired(stack)
    assert OTHER not in stacks.inside(stack.lab, 1, find)


def test_another_model_on_the_port(stack):
    spec = json.loads(head(stack, f"docker service inspect {service(stack, 0)}"))[0]["Spec"]
    words = spec["TaskTemplate"]["ContainerSpec"]["Args"]
    words = [OTHER_MODEL if word == MODEL else word for word in words]
    head(stack, f"docker service update --detach --args '{' '.join(words)}' {service(stack, 0)}")
    models = f"curl -s -m 2 http://{stack.lab['nodes'][0]['host']}:8355/v1/models || true"
    stacks.until(lambda: OTHER_MODEL in head(stack, models), 120, "the other model to answer")
    text = shown(stack)
    assert "trtllm-endpoint" in text
    assert OTHER_MODEL in text
    repaired(stack)


def test_a_gpu_no_longer_advertised(stack):
    stacks.inside(
        stack.lab,
        1,
        """python3 - <<'END'
import json
path = "/etc/docker/daemon.json"
content = json.load(open(path))
content.pop("node-generic-resources")
json.dump(content, open(path, "w"))
END""",
    )
    stacks.inside(stack.lab, 1, "systemctl restart docker")
    find = "docker node ls --format '{{.Status}}' | sort -u"
    stacks.until(lambda: head(stack, find) == "Ready", 60, "the worker to be back in the Swarm")
    text = shown(stack)
    assert "worker-1-gpu-runtime" in text
    assert "cluster-swarm" in text
    assert "node-generic-resources" in text
    assert stack.lab["nodes"][1]["host"] in text
    repaired(stack)


def test_a_node_that_left(stack):
    stacks.inside(stack.lab, 1, "docker swarm leave")
    text = shown(stack)
    assert "cluster-swarm" in text
    assert stack.lab["nodes"][1]["host"] in text
    repaired(stack)
    assert head(stack, "docker node ls --format '{{.Status}}'").split() == ["Ready", "Ready"]


def test_a_node_that_left_is_seen_by_a_preview_too(stack):
    """Not only by a refresh: rank 1 could not start, and `up` would wait for it."""
    stacks.inside(stack.lab, 1, "docker swarm leave")
    text = stack.pulumi("preview", "--diff").text
    assert "cluster-swarm" in text
    assert "outside" in text
    assert stack.lab["nodes"][1]["host"] in text
    repaired(stack)


def test_the_head_alone_and_back(stack):
    stack.set("headOnly", True)
    stack.up()
    assert stack.output("model") == MODEL
    assert not stack.output("transport")
    assert len(stack.output("nodes")) == 1
    ranks = "docker service ls --format '{{.Name}}' --filter label=trtspark.rank"
    assert head(stack, ranks) == "trtspark-lab-rank-0"
    assert stacks.inside(stack.lab, 1, "docker ps --all -q --filter label=trtspark.rank").strip() == ""
    assert set(stack.up().counts) == {"unchanged"}
    the_worker_leaves_the_configuration(stack)
    stack.set("headOnly", None)
    stack.up()
    assert len(stack.output("transport")) == 2
    assert len(head(stack, ranks).split()) == 2
    repaired(stack)


def the_worker_leaves_the_configuration(stack):
    """What we know of its weights goes with it, and not before; the weights stay. Then it is listed again."""
    look = "ls -d /home/nvidia/.local/state/trtspark/* 2>/dev/null || true"
    weights = "find /home/nvidia/.cache/huggingface -type f | wc -l"
    before = stacks.inside(stack.lab, 1, weights)
    assert "/lab" in stacks.inside(stack.lab, 1, look)
    nodes = stack.get("nodes")
    stack.set("nodes", nodes[:1])
    assert stack.up().counts.get("updated") == 1
    assert stacks.inside(stack.lab, 1, look).strip() == ""
    assert stacks.inside(stack.lab, 1, weights) == before
    stack.set("nodes", nodes)


def test_destroy_gives_the_machines_back(stack):
    stack.destroy()
    stacks.same(stack.lab, stack.before)
