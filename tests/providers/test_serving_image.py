"""Looking into the serving image: one container on the head, or on each node where a name is all there is."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from cluster.errors import NodeError, NotReady, PlanError
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
    assert head.made[0]["host_config"] == {"network_mode": "none"}
    assert head.made[0]["environment"] == ["NVIDIA_VISIBLE_DEVICES=void"]


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
    assert differs(image=DIGEST.replace("a" * 64, "b" * 64))
    assert differs(several=False)
