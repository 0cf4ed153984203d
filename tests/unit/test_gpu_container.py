"""A container that must see the GPU: it is made of an image that is there, and always removed."""

from __future__ import annotations

from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from cluster.least_privilege import host_config
from remote import gpu_container
from tests import samples

[NODE] = samples.connections(1)


class Engine:
    """Docker with some images, and a container that says something."""

    def __init__(
        self, images: list[str], code: int = 0, out: str = "GPU 0: NVIDIA GB10 (UUID: GPU-1)"
    ) -> None:
        self.there, self.code, self.out = images, code, out
        self.made: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.refuses = ""

    def inspect_image(self, name: str) -> dict[str, str]:
        if name not in self.there:
            raise ImageNotFound("no such image")
        return {"Id": f"id of {name}"}

    def images(self, filters: dict[str, bool]) -> list[dict[str, str]]:
        assert filters == {"dangling": False}
        return [{"Id": f"id of {name}"} for name in self.there]

    def create_host_config(self, **words: Any) -> dict[str, Any]:
        return words

    def create_container(self, image: str, **words: Any) -> dict[str, str]:
        self.made.append({"image": image, **words})
        return {"Id": "c"}

    def start(self, _id: str) -> None:
        if self.refuses:
            raise APIError("bad", explanation=self.refuses)

    def wait(self, _id: str, timeout: float) -> dict[str, int]:
        assert timeout > 0
        return {"StatusCode": self.code}

    def logs(self, _id: str) -> bytes:
        return self.out.encode()

    def remove_container(self, id: str, force: bool) -> None:
        assert force
        self.removed.append(id)


def problem(engine: Engine, restricted: bool = True) -> str | None:
    return gpu_container.problem(NODE, ["x@sha256:1", "x:1"], restricted, lambda _connection: engine)


def test_it_sees_it():
    engine = Engine(["x:1", "other"])
    assert problem(engine) == ""
    assert engine.made[0]["image"] == "id of x:1"
    plain = {"runtime": "nvidia", "network_mode": "none"}
    assert engine.made[0]["host_config"] == {**plain, **host_config(True)}
    assert engine.removed == ["c"]
    problem(engine, restricted=False)
    assert engine.made[1]["host_config"] == plain


def test_any_image_will_do_and_without_one_nothing_is_said():
    engine = Engine(["other"])
    assert problem(engine) == ""
    assert engine.made[0]["image"] == "id of other"
    assert problem(Engine([])) is None


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (Engine(["x:1"], 9, "a\nFailed to initialize NVML"), "Failed to initialize NVML"),
        (Engine(["x:1"], 0, "No devices were found"), "No devices were found"),
        (Engine(["x:1"], 12, ""), "nvidia-smi ended with 12"),
    ],
)  # fmt: skip
def test_what_it_says_when_it_does_not(engine, said):
    assert problem(engine) == said
    assert engine.removed == ["c"]


def test_docker_that_cannot_start_it_is_the_answer_and_it_is_removed():
    engine = Engine(["x:1"])
    engine.refuses = 'exec: "nvidia-smi": executable file not found in $PATH'
    assert problem(engine) == 'exec: "nvidia-smi": executable file not found in $PATH'
    assert engine.removed == ["c"]
