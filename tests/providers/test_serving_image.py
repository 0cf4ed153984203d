"""Looking into the serving image: one container on the head, or on each node where a name is all there is."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from cluster import image_table
from cluster.errors import NodeError, NotReady, PlanError
from cluster.least_privilege import host_config
from dynamic_providers.serving_image import ServingImageProvider
from remote import serving_image
from tests import samples
from tests.providers.fake_swarm import refused

DIGEST = "nvcr.io/x@sha256:" + "a" * 64
SAID = b"""banner
trtspark mpirun /usr/bin/mpirun
trtspark trtllm-serve /usr/bin/trtllm-serve
trtspark trtllm-llmapi-launch /usr/bin/trtllm-llmapi-launch
trtspark python3 /usr/bin/python3
trtspark ssh /usr/bin/ssh
trtspark mpirun-version mpirun (Open MPI) 5.0.7
trtspark python3-version 3.12.3
trtspark TRT_LLM_VERSION 1.3.0rc13
trtspark CUDA_VERSION 13.0.2.006
trtspark CUDA_DRIVER_VERSION 580.95.05
trtspark NVIDIA_REQUIRE_CUDA cuda>=9.0
trtspark NCCL_VERSION 2.28.9
trtspark transformers 4.57.3
"""


class Docker:
    """One node's engine: what was created, started and removed there."""

    def __init__(self, said: bytes = SAID) -> None:
        self.said = said
        self.made: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.fails: dict[str, Exception] = {}

    def _may_fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]

    def create_host_config(self, **config: Any) -> dict[str, Any]:
        return config

    def create_container(self, image: str, **config: Any) -> dict[str, str]:
        self._may_fail("create")
        self.made.append({"image": image, **config})
        return {"Id": "c"}

    def start(self, container: str) -> None:
        self._may_fail("start")

    def wait(self, container: str, timeout: float) -> dict[str, int]:
        self._may_fail("wait")
        return {"StatusCode": 0}

    def logs(self, container: str, stderr: bool) -> bytes:
        return self.said

    def remove_container(self, container: str, force: bool) -> None:
        self.removed.append(container)

    def containers(self, **_options: Any) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def nodes(monkeypatch):
    made = {one.host: Docker() for one in samples.connections(2)}
    monkeypatch.setattr(serving_image.check, "__defaults__", (lambda one: made[one.host],))
    return made


def props(image: str = DIGEST) -> dict[str, Any]:
    return {
        "image": image,
        "connections": [one.as_props() for one in samples.connections(2)],
        "several": True,
    }


def test_by_digest_the_heads_answer_is_everybodys(nodes):
    outs = ServingImageProvider().create(props()).outs
    assert outs is not None
    assert (outs["openmpi"], outs["python"], outs["ssh"]) == ("5.0.7", "3.12.3", "/usr/bin/ssh")
    head, worker = nodes.values()
    assert (len(head.made), head.removed, worker.made) == (1, ["c"], [])
    assert head.made[0]["host_config"] == {"network_mode": "none", **host_config(True)}
    assert head.made[0]["environment"] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_the_look_has_the_rights_that_the_ranks_have(nodes):
    ServingImageProvider().create({**props(), "use": use(restrictContainers=False, allowUntestedImage=True)})
    assert next(iter(nodes.values())).made[0]["host_config"] == {"network_mode": "none"}


def test_what_else_the_image_tells(nodes):
    outs = ServingImageProvider().create(props()).outs
    assert outs is not None
    told = {name: outs[name] for name in ("release", "transformers", "nccl", "driver")}
    assert told == {
        "release": "1.3.0rc13",
        "transformers": "4.57.3",
        "nccl": "2.28.9",
        "driver": "580.95.05",
    }


def use(**changes: Any) -> dict[str, Any]:
    facts = samples.facts(2)
    settings = samples.settings(2, **changes)
    return image_table.use(settings, facts, image_table.served(settings.model, None))


def test_a_release_that_nobody_knew_before_the_pull_is_refused(nodes):
    """Pulumi hands numbers back as floats."""
    judged = {**props(), "use": {**use(), "ranks": 2.0}}
    with pytest.raises(PlanError, match=r"TensorRT-LLM 1\.3\.0rc13 on 2 ranks: .* allowUntestedImage"):
        ServingImageProvider().create(judged)
    for changes in ({"allowUntestedImage": True}, {"running": False}):
        ServingImageProvider().create({**props(), "use": use(**changes)})


def test_a_driver_that_is_too_old_for_it_is_refused(nodes):
    nodes_use = {**use(), "drivers": [["spark-1", "570.86", "12.8"]]}
    with pytest.raises(PlanError, match=r"spark-1: its driver 570\.86 is for CUDA 12\.8"):
        ServingImageProvider().create({**props(), "use": nodes_use})


def test_by_name_each_node_is_asked(nodes):
    ServingImageProvider().create(props("mine:1"))
    assert [len(one.made) for one in nodes.values()] == [1, 1]
    list(nodes.values())[1].said = SAID.replace(b"/usr/bin/trtllm-serve", b"")
    host = samples.connections(2)[1].host
    with pytest.raises(PlanError, match=f"mine:1 on {host} lacks trtllm-serve"):
        ServingImageProvider().update("id", {}, props("mine:1"))


@pytest.mark.parametrize(
    ("step", "error", "kind", "said"),
    [
        ("start", refused(400, 'exec: "bash": executable file not found in $PATH'), NodeError, "not start"),
        ("wait", requests.ReadTimeout("timed out"), NotReady, "waited 120 s"),
    ],
)
def test_a_container_that_does_not_run_is_told_and_removed(nodes, step, error, kind, said):
    head = next(iter(nodes.values()))
    head.fails[step] = error
    with pytest.raises(kind, match=said):
        ServingImageProvider().create(props())
    assert head.removed == ["c"]


def test_only_another_image_or_another_use_is_looked_into_again():
    def differs(**changes: Any) -> bool:
        return bool(ServingImageProvider().diff("id", props(), {**props(), **changes}).changes)

    assert not differs(connections=[])
    assert not differs(use=use(model="openai/gpt-oss-20b"))
    assert differs(image=DIGEST.replace("a" * 64, "b" * 64))
    assert differs(several=False)
