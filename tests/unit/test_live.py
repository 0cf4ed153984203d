"""Live checks: one fault each against a deployment that is well, by the documents that nodes answer with."""

from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.facts import SwarmState
from cluster.live import LIVE_CHECKS, Answer, CableTest, Live
from cluster.live import seen as seen_of
from tests import samples

NOW = 1_795_568_200.0
DIGEST = "sha256:" + "2" * 64
MODEL = "openai/gpt-oss-120b"


def facts() -> list[Any]:
    found = []
    for index, one in enumerate(samples.facts(2)):
        gpu = [f"NVIDIA_GPU={one.gpu_uuid}"]
        settings = {
            "runtimes": {"nvidia": {}},
            "default-runtime": "nvidia",
            "node-generic-resources": gpu,
        }
        docker = dataclasses.replace(
            one.docker,
            default_runtime="nvidia",
            runtimes=("nvidia", "runc"),
            generic_resources=tuple(gpu),
            swarm=SwarmState("active", f"id-{index}", index == 0),
            swarm_state="active",
        )
        toolkit = dataclasses.replace(one.container_toolkit, swarm_resource="DOCKER_RESOURCE_NVIDIA_GPU")
        found.append(dataclasses.replace(one, daemon_json=settings, docker=docker, container_toolkit=toolkit))
    return found


def document(index: int) -> dict[str, Any]:
    """remote/node/live.py's answer of node `index`."""
    answer: dict[str, Any] = {
        "time": NOW,
        "image": None,
        "containers": [
            {"Id": f"c{index}", "State": "running", "Labels": {"trtspark.rank": str(index)},
             "digests": [f"nvcr.io/nvidia/x@{DIGEST}"]},
        ],
        "counters": {
            name: {"symbol_error": 0, "packet_seq_err": 0, "port_rcv_packets": 1_000_000, "link_downed": 1}
            for name in ("rocep1s0f0", "roceP2p1s0f0")
        },
        "nodes": None, "services": None, "tasks": None,
    }  # fmt: skip
    if index == 0:
        answer |= {
            "nodes": [
                {
                    "ID": f"id-{n}",
                    "Spec": {"Availability": "active", "Labels": {"trtspark.rank": str(n)}},
                    "Description": {
                        "Hostname": f"spark-{n + 1}",
                        "Resources": {
                            "GenericResources": [
                                {"NamedResourceSpec": {"Kind": "NVIDIA_GPU", "Value": one.gpu_uuid}}
                            ]
                        },
                    },
                    "Status": {"State": "ready"},
                }
                for n, one in enumerate(facts())
            ],
            "services": [
                {
                    "ID": f"s{n}",
                    "Spec": {
                        "Name": f"trtspark-dgx-rank-{n}",
                        "Labels": {"trtspark.rank": str(n)},
                        "Mode": {"Replicated": {"Replicas": 1}},
                    },
                    "UpdatedAt": stamp(120),
                }
                for n in (0, 1)
            ],
            "tasks": [task(n) for n in (0, 1)],
        }
    return answer


def task(
    rank: int,
    state: str = "running",
    desired: str = "running",
    minutes: float = 10,
    said: str = "started",
    code: int | None = None,
) -> dict[str, Any]:
    status: dict[str, Any] = {"State": state, "Message": said}
    if code is not None:
        status["ContainerStatus"] = {"ContainerID": "c", "ExitCode": code}
    return {
        "ID": f"t{rank}-{minutes}",
        "ServiceID": f"s{rank}",
        "NodeID": f"id-{rank}",
        "CreatedAt": stamp(minutes),
        "DesiredState": desired,
        "Status": status,
    }


def stamp(minutes: float) -> str:
    """Docker's time, so many minutes ago."""
    return datetime.fromtimestamp(NOW - minutes * 60, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


OUTPUTS = {
    "endpoint": "http://10.24.11.11:8355",
    "model": MODEL,
    "revision": samples.COMMIT,
    "image": f"nvcr.io/nvidia/x@{DIGEST}",
    "nodes": ["10.24.11.11 (spark-1, GB10)", "10.24.11.12 (spark-2, GB10)"],
    "transport": ["spark-1: NET/IB rocep1s0f0", "spark-2: NET/IB rocep1s0f0"],
}


def live(documents: list[dict[str, Any]] | None = None, **changes: Any) -> Live:
    first, second = documents or [document(0), document(1)]
    given: dict[str, Any] = {
        "nodes": facts(),
        "caches": [samples.cache(), samples.cache()],
        "outputs": OUTPUTS,
        "answer": Answer(MODEL, completes=True),
        "log": ["INFO:     Application startup complete."],
        "fabric": CableTest(),
        "gpus": {"10.24.11.11": "", "10.24.11.12": ""},
        "settings": samples.settings(2),
        **changes,
    }
    return Live(
        stack="dgx",
        machines=[seen_of.machine(first), seen_of.machine(second)],
        swarm=seen_of.members(first),
        services=seen_of.services(first),
        tasks=seen_of.tasks(first),
        **given,
    )


def said(one: Live) -> list[str]:
    """LEVEL check: text, of every check that can be asked."""
    return [
        f"{found.level} {found.check}: {found}"
        for check in LIVE_CHECKS.values()
        if not check.skipped(one)
        for found in check(one)
    ]


def test_a_deployment_that_is_well():
    one = live()
    assert said(one) == []
    assert not any(check.skipped(one) for check in LIVE_CHECKS.values())


def test_before_the_first_up_only_what_full_tested_is_asked():
    one = live(outputs={}, answer=None, log=None)
    asked = {check.id for check in LIVE_CHECKS.values() if not check.skipped(one)}
    assert asked == {"gpu.container", "fabric.test"}


def changed(**changes: Any) -> list[dict[str, Any]]:
    """The two documents with the manager's changed; a function changes it in place."""
    first = copy.deepcopy(document(0))
    for key, value in changes.items():
        first[key] = value
    return [first, document(1)]


def node_changed(**status: Any) -> list[dict[str, Any]]:
    documents = changed()
    entry = documents[0]["nodes"][1]
    entry["Status"]["State"] = status.get("state", "ready")
    entry["Spec"]["Availability"] = status.get("availability", "active")
    if "resources" in status:
        entry["Description"]["Resources"] = status["resources"]
    return documents


def tasks(*of_rank_0: dict[str, Any]) -> list[dict[str, Any]]:
    return changed(tasks=[*of_rank_0, task(1)])


def confined() -> list[dict[str, Any]]:
    documents = changed()
    documents[1]["containers"][0]["processes"] = [{"name": "mgmn_worker_node", "cpus": {"0-19": 1, "0": 30}}]
    return documents


def paused() -> list[dict[str, Any]]:
    documents = changed()
    documents[1]["containers"][0]["State"] = "paused"
    return documents


LOOP = [task(0, "failed", "shutdown", minutes, "task: non-zero exit (75)", 75) for minutes in (1, 2, 3)]
CASES = [
    (live(confined()), "WARN ranks.cores: 10.24.11.12: rank 1: 30 of 31 threads may only run on CPU 0"),
    (live(paused()), "FAIL ranks.paused: 10.24.11.12: rank 1 is paused (`docker pause`). `pulumi up` starts"),
    (live(node_changed(state="down")), "FAIL swarm.ready: 10.24.11.12: the Swarm calls it down."),
    (
        live(node_changed(availability="drain")),
        "FAIL swarm.ready: 10.24.11.12: somebody has set it to drain",
    ),
    (
        live(node_changed(resources={})),
        "FAIL swarm.gpu: 10.24.11.12: the Swarm lists the GPU none",
    ),
    (live(changed(nodes=[document(0)["nodes"][0]])), "FAIL swarm.ready: 10.24.11.12: the head's Swarm does"),
    (live(changed(nodes=None, services=[], tasks=[])), "FAIL swarm.member: 10.24.11.11: its Swarm gives no"),
    (
        live(changed(services=document(0)["services"][:1])),
        "FAIL service.there: the service trtspark-dgx-rank-1 is not there.",
    ),
    (
        live(tasks(*LOOP)),
        "FAIL service.running: trtspark-dgx-rank-0 ended 3 times within the hour: task: non-zero exit (75) "
        "(no answer within readyTimeout",
    ),
    (
        live(tasks(task(0, "pending", said="no suitable node (insufficient resources on 2 nodes)"))),
        "FAIL service.running: Swarm finds no place for trtspark-dgx-rank-0: no suitable node",
    ),
    (
        live(tasks(task(0, "preparing", said="preparing"))),
        "WARN service.running: trtspark-dgx-rank-0 does not run yet (preparing: preparing).",
    ),
    (live(tasks()), "FAIL service.running: trtspark-dgx-rank-0 has no container."),
    (
        live(tasks(task(0, minutes=5), *LOOP[:1])),
        "WARN service.restarts: trtspark-dgx-rank-0 ended once within the hour, and runs again since 5 min",
    ),
    (live(answer=Answer(said="connection refused")), "FAIL endpoint.answers: http://10.24.11.11:8355 gives"),
    (live(answer=Answer("other/model")), "FAIL endpoint.answers: http://10.24.11.11:8355 serves other/model"),
    (
        live(answer=Answer(MODEL, "no answer in time", completes=False)),
        "FAIL endpoint.completes: http://10.24.11.11:8355 lists its model but completes nothing",
    ),
    (
        live(answer=Answer(MODEL, "HTTP 400: CUDA error: an illegal instruction was encountered", False)),
        "FAIL endpoint.completes: http://10.24.11.11:8355 lists its model but completes nothing (HTTP 400: "
        "CUDA error: an illegal instruction was encountered). A kernel failed on the GPU",
    ),
    (
        live(tasks(task(0, minutes=5), task(0, "failed", "shutdown", 8, "task: non-zero exit (143)", 143))),
        "WARN service.restarts: trtspark-dgx-rank-0 ended once within the hour, and runs again since 5 min: "
        "task: non-zero exit (143) (ended from outside",
    ),
    (
        live(outputs={**OUTPUTS, "transport": ["spark-1: NET/Socket", "spark-2: NET/Socket"]}),
        "WARN transport.proven: spark-1 and spark-2 talk over sockets",
    ),
    (live(outputs={**OUTPUTS, "transport": []}), "WARN transport.proven: the last `up` has proven the trans"),
    (
        live(settings=samples.settings(2, model="openai/gpt-oss-20b")),
        "WARN stack.applied: openai/gpt-oss-120b is deployed",
    ),
    (
        live(caches=[samples.cache(), samples.cache(problems=["model.safetensors is missing"])]),
        "FAIL weights.deployed: 10.24.11.12: model openai/gpt-oss-120b is not whole",
    ),
    (
        live(caches=[samples.cache(), samples.cache(commit=None)]),
        "FAIL weights.deployed: 10.24.11.12: model openai/gpt-oss-120b is no longer in",
    ),
    (
        live(caches=[samples.cache(), samples.cache(commit="f" * 40)]),
        "FAIL weights.deployed: 10.24.11.12: its cache's main is ffffffffffff",
    ),
    (
        live(gpus={"10.24.11.12": "Failed to initialize NVML: Unknown Error"}),
        "FAIL gpu.container: 10.24.11.12: a container does not see its GPU: Failed to initialize NVML",
    ),
    (
        live(
            fabric=CableTest(
                warnings=["spark-1 a to spark-2 b: packets of its MTU 9000 do not arrive. Set one MTU."]
            )
        ),
        "WARN fabric.test: spark-1 a to spark-2 b: packets of its MTU 9000 do not arrive. Set one MTU.",
    ),
    (
        live(fabric=CableTest(["spark-1 a - spark-2 b: RDMA 111.7 and 111.6 Gb/s (expected 112): good"])),
        "NOTE fabric.test: spark-1 a - spark-2 b: RDMA 111.7 and 111.6 Gb/s (expected 112): good.",
    ),
    (
        live(fabric=CableTest(notes=["NCCL was not tested: the server runs on a. Stop it."])),
        "NOTE fabric.test: NCCL was not tested: the server runs on a. Stop it.",
    ),
    (
        live(log=["torch.OutOfMemoryError: CUDA out of memory."] * 2),
        "WARN log.known: the log says 'torch.OutOfMemoryError: CUDA out of memory.': out of memory. Lower",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "begins"), CASES, ids=[begins[:60] for _, begins in CASES])
def test_one_fault_is_one_finding_with_what_to_do(one, begins):
    matching = [text for text in said(one) if text.startswith(begins)]
    assert len(matching) == 1, said(one)


def test_a_restart_long_ago_is_the_past():
    one = live(tasks(task(0), task(0, "failed", "shutdown", 90, "task: non-zero exit (1)", 1)))
    assert said(one) == []


def test_a_restart_of_another_spec_is_mended():
    documents = tasks(task(0), *LOOP)
    documents[0]["services"][0]["UpdatedAt"] = stamp(0.5)
    assert said(live(documents)) == []


def test_what_was_undone_on_a_node_is_listed():
    first, second = facts()
    second = dataclasses.replace(second, daemon_json={})
    [text] = said(live(nodes=[first, second]))
    assert text.startswith(
        "FAIL deployed.prepared: 10.24.11.12: Docker is not prepared as it was: daemon.json"
    )


def test_errors_of_a_half_count_and_a_little_that_was_sent_again_does_not():
    documents = changed()
    documents[1]["counters"]["rocep1s0f0"]["packet_seq_err"] = 20
    assert said(live(documents)) == []
    documents[1]["counters"]["rocep1s0f0"]["packet_seq_err"] = 20_000
    [text] = said(live(documents))
    assert (
        "10.24.11.12: rocep1s0f0 (enp1s0f0np0), linked to 10.24.11.11 enp1s0f0np0: 2 % of 1000000 "
        "packets were out of sequence or sent again (packet_seq_err 20000) "
        "since its driver started. Push the cable in"
    ) in text
    documents[1]["counters"]["rocep1s0f0"]["np_cnp_sent"] = 300
    [text] = said(live(documents))
    assert "(packet_seq_err 20000, 300 notices of congestion)" in text
    assert "check its flow control (PFC or ECN)" in text


def test_an_unused_cages_counters_do_not_matter():
    documents = changed()
    documents[0]["counters"]["rocep1s0f1"] = {"symbol_error": 9}
    assert said(live(documents)) == []


def test_another_image_on_one_node():
    documents = changed()
    documents[1]["containers"][0]["digests"] = ["nvcr.io/nvidia/x@sha256:" + "3" * 64]
    assert said(live(documents)) == [
        "FAIL image.same: the ranks run images of different digests. Run `pulumi refresh`, then `pulumi up`."
    ]


def test_a_stack_that_is_stopped_on_purpose_is_well():
    stopped = changed(tasks=[])
    for service in stopped[0]["services"]:
        service["Spec"]["Mode"]["Replicated"]["Replicas"] = 0
    outputs = {**OUTPUTS, "model": "", "transport": []}
    one = live(stopped, settings=samples.settings(2, running=False), outputs=outputs, answer=None)
    assert said(one) == []


def test_a_machine_whose_docker_is_silent_is_another_checks():
    first, second = facts()
    silent = dataclasses.replace(second, docker=dataclasses.replace(second.docker, problem="silent"))
    assert not any("swarm.member" in text for text in said(live(nodes=[first, silent])))


@pytest.mark.parametrize(
    "labels", [None, {}, {"trtspark.rank": ""}, {"trtspark.rank": "web"}, {"trtspark.rank": "-1"}]
)
def test_a_service_that_only_has_our_stacks_label_is_none_of_our_ranks(labels):
    """Somebody copied a label, or runs a tool of their own beside the ranks."""
    foreign = {
        "ID": "s9",
        "Spec": {"Name": "theirs", "Labels": labels, "Mode": {"Global": {}}},
        "UpdatedAt": stamp(1),
    }
    documents = [document(n) for n in (0, 1)]
    documents[0]["services"].append(foreign)
    documents[0]["tasks"].append({**task(0), "ServiceID": "s9"})
    container = {"State": "running", "Labels": labels or {}, "digests": [], "processes": []}
    documents[0]["containers"] = [*(documents[0]["containers"] or []), container]
    found = live(documents)
    assert [one.rank for one in found.services] == [0, 1]
    assert [one.rank for one in found.tasks] == [0, 1]
    assert [str(one) for each in LIVE_CHECKS.values() for one in each(found) if each.area == "swarm"] == []


@pytest.mark.parametrize(
    ("mode", "replicas"),
    [({"Global": {}}, 1), ({"Replicated": {"Replicas": 0}}, 0), ({"Replicated": {}}, 0), (None, 0)],
)
def test_every_mode_of_a_service_is_read(mode, replicas):
    changed = document(0)
    changed["services"][0]["Spec"]["Mode"] = mode
    assert seen_of.services(changed)[0].replicas == replicas


@pytest.mark.parametrize(
    ("use", "degrees", "watts", "clock", "reasons", "check"),
    [
        (96, 55, 22.1, 2405, 0x0, "gpu.hung"),
        (96, 50, 13.0, 611, 0x0, "gpu.held"),
        (96, 71, 60.0, 1900, 0x40, "gpu.held"),
        (96, 86, 80.0, 2400, 0x0, "gpu.hot"),
    ],
)
def test_a_gpu_that_is_not_well_is_one_warning_for_its_node(use, degrees, watts, clock, reasons, check):
    documents = changed()
    documents[1]["gpu"] = 3 * [gpu_sample(use, degrees, watts, clock, reasons)]
    [text] = said(live(documents))
    assert text.startswith(f"WARN {check}: 10.24.11.12: ")


def test_a_gpu_at_work_is_well():
    documents = changed()
    documents[1]["gpu"] = 3 * [gpu_sample(96, 71, 78.4, 2411, 0x4)]
    assert said(live(documents)) == []


def gpu_sample(use: float, degrees: float, watts: float, clock: float, reasons: int) -> dict[str, str]:
    return {
        "utilization.gpu": str(use),
        "temperature.gpu": str(degrees),
        "power.draw": str(watts),
        "clocks.sm": str(clock),
        "clocks.max.sm": "3003",
        "clocks_event_reasons.active": f"0x{reasons:016x}",
    }


def test_a_cap_on_the_clock_that_is_not_there_or_not_in_force():
    settings = samples.settings(2, gpuClockLimit="2200")
    capped = [dataclasses.replace(one, clock_limit=2200) for one in facts()]
    assert said(dataclasses.replace(live(nodes=capped), settings=settings)) == []
    missing = [capped[0], dataclasses.replace(capped[1], clock_limit=None)]
    [text] = said(dataclasses.replace(live(nodes=missing), settings=settings))
    assert text.startswith("FAIL gpu.capped: 10.24.11.12: ")
    documents = changed()
    documents[0]["gpu"] = [gpu_sample(96, 60, 78.4, 2411, 0)]
    [text] = said(dataclasses.replace(live(documents, nodes=capped), settings=settings))
    assert text.startswith("FAIL gpu.capped: 10.24.11.11: ")
    assert "2411 MHz" in text
