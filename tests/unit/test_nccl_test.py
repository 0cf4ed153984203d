"""NCCL's all-reduce: where it is run, with what, and what becomes of its containers."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from docker import APIClient
from docker.errors import APIError, ImageNotFound

from cluster import fabric, nccl_test
from cluster.least_privilege import DROPPED, PIDS
from cluster.rail_report import Nccl
from remote import nccl_test as runner
from tests import samples

IMAGE = "nvcr.io/nvidia/tensorrt-llm/release@sha256:aa"


def answer(rank: int, seconds: float = 0.5, **changes: Any) -> str:
    found = {
        "rank": rank, "size": 2, "bytes": nccl_test.BYTES, "rounds": nccl_test.ROUNDS, "seconds": seconds,
        "version": "2.28.9", **changes,
    }  # fmt: skip
    return "a line of the image\n" + json.dumps({nccl_test.RESULT: found}) + "\n"


def plan(**nccl: str) -> dict[str, Any]:
    nodes = samples.facts(2)
    return nccl_test.plan(fabric.plan(nodes, [[], []]), nccl, [("0.0.0.0", nccl_test.PORTS[0])], True)


class Engine:
    """A Docker that keeps what is asked of it."""

    def __init__(self, log: str = "", **has: Any) -> None:
        self.log = log
        self.images = has.get("images", [IMAGE])
        self.runtimes = has.get("runtimes", {"nvidia": {}})
        self.there: list[dict[str, Any]] = list(has.get("there", []))
        self.hangs = has.get("hangs", False)
        self.made: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.fails = has.get("fails", "")

    create_host_config = APIClient.create_host_config
    _version = "1.44"

    def containers(self, all: bool = False, filters: Any = None) -> list[dict[str, Any]]:
        key = str(filters["label"]).partition("=")[0]
        return [one for one in self.there if key in one["Labels"] and (all or one["State"] == "running")]

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.images:
            raise ImageNotFound("no such image")
        return {"Id": name}

    def info(self) -> dict[str, Any]:
        return {"Runtimes": self.runtimes}

    def create_container(self, image: str, **how: Any) -> dict[str, Any]:
        self.made.append({"image": image, **how})
        return {"Id": f"c{len(self.made)}"}

    def start(self, _name: str) -> None:
        if self.fails:
            raise APIError(self.fails, explanation=self.fails)

    def wait(self, _name: str, timeout: float) -> dict[str, int]:
        assert 0 < timeout <= nccl_test.DEADLINE_S
        if self.hangs:
            raise requests.ReadTimeout
        return {"StatusCode": 0}

    def logs(self, _name: str, tail: int) -> bytes:
        assert tail
        return self.log.encode()

    def remove_container(self, name: str, force: bool) -> None:
        assert force
        self.removed.append(name)


def measure(*engines: Engine, wanted: dict[str, Any] | None = None) -> Nccl:
    waiting = list(engines)
    return runner.measure(
        plan() if wanted is None else wanted, IMAGE, samples.connections(2), lambda _one: waiting.pop(0)
    )


def test_the_slowest_rank_counts_and_nothing_stays():
    head, worker = Engine(answer(0, 0.5)), Engine(answer(1, 0.25))
    found = measure(head, worker)
    assert found.gbps == pytest.approx(nccl_test.BYTES * 20 * 8 / 0.5 / 1e9)
    assert (found.version, found.skipped, found.said) == ("2.28.9", "", "")
    assert head.removed == worker.removed == ["c1"]


def test_a_container_has_what_a_rank_has():
    head, worker = Engine(answer(0)), Engine(answer(1))
    measure(head, worker)
    [made] = worker.made
    assert made["labels"] == {"trtspark.test": "nccl"}
    host = made["host_config"]
    assert (host["Runtime"], host["NetworkMode"], host["Init"]) == ("nvidia", "host", True)
    assert [(one["Name"], one["Soft"], one["Hard"]) for one in host["Ulimits"]] == [("memlock", -1, -1)]
    assert host["CapAdd"] == ["IPC_LOCK"]
    assert host["CapDrop"] == list(DROPPED)
    assert (host["PidsLimit"], host["SecurityOpt"]) == (PIDS, ["no-new-privileges:true"])
    environment = made["environment"]
    assert environment["NVIDIA_MOFED"] == "enabled"
    assert environment["NCCL_IB_HCA"] == "=rocep1s0f0:1,roceP2p1s0f0:1"
    assert environment["NCCL_SOCKET_IFNAME"] == "=enp1s0f0np0"
    args = json.loads(environment[nccl_test.ARGUMENTS])
    assert (args["rank"], args["size"], args["address"]) == (1, 2, "192.168.100.11")
    assert args["port"] == nccl_test.PORTS[1], "the first one is taken"
    assert "all_reduce" in made["command"][0]


@pytest.mark.parametrize(
    ("has", "why"),
    [
        (
            {"there": [{"Id": "r", "Labels": {"trtspark.rank": "1"}, "State": "running"}]},
            "the server runs on 10.24.11.12, which holds the GPU's memory",
        ),
        ({"images": []}, f"the image {IMAGE} is not on 10.24.11.12 yet. `pulumi up` pulls it."),
        ({"runtimes": {"runc": {}}}, "Docker on 10.24.11.12 has no nvidia runtime yet."),
    ],
)
def test_where_it_cannot_be_run_it_says_why_and_starts_nothing(has, why):
    head, worker = Engine(answer(0)), Engine(answer(1), **has)
    found = measure(head, worker)
    assert found.gbps is None
    assert found.skipped.startswith(why)
    assert head.made == worker.made == []


def test_without_a_fabric_there_is_nothing_to_run():
    assert plan(NCCL_IB_DISABLE="1") == {}
    assert "share no RDMA fabric" in measure(Engine(), Engine(), wanted={}).skipped


@pytest.mark.parametrize("has", [{"hangs": True}, {}])
def test_a_rank_that_fails_or_hangs_is_named_with_its_cause(has):
    place = "n2:9:12 [0] misc/ibvwrap.cc:380 (wrap_ibv_modify_qp)"
    warn = f"{place} NCCL WARN Call to ibv_modify_qp failed with 110\n"
    head, worker = Engine(answer(0)), Engine(f"{warn}Traceback\nDistBackendError: NCCL error.\n", **has)
    found = measure(head, worker)
    assert (found.gbps, found.said) == (None, "rank 1: Call to ibv_modify_qp failed with 110")
    assert head.removed == worker.removed == ["c1"]


def test_what_docker_refuses_is_told_and_what_was_made_is_removed():
    head, worker = Engine(answer(0)), Engine(fails="could not select device driver")
    found = measure(head, worker)
    assert found.said == "could not select device driver"
    assert head.removed == worker.removed == ["c1"]


def test_what_an_interrupted_run_left_is_removed_first_and_a_test_that_runs_is_not():
    now = time.time()
    left = [
        {"Id": "ended", "Labels": runner.MARK, "State": "exited", "Created": now - 20},
        {"Id": "old", "Labels": runner.MARK, "State": "running", "Created": now - 999},
        {"Id": "another's", "Labels": runner.MARK, "State": "running", "Created": now - 5},
    ]
    head = Engine(answer(0), there=left)
    measure(head, Engine(answer(1)))
    assert head.removed == ["ended", "old", "c1"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"trtspark_nccl": 1}', answer(0, seconds=0), answer(0, seconds=1e-9), answer(0, size="x")],
)
def test_what_is_no_result_is_no_rate(text):
    assert nccl_test.result([text]).gbps is None
