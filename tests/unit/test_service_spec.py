"""Service specs: what Swarm keeps, and how a read-back compares."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from cluster import kernel_cache, least_privilege, service_spec
from cluster.facts import Docker
from cluster.least_privilege import DOCKERS, DROPPED, PIDS
from cluster.parsing.docker import engine
from cluster.service_spec import File, Rank, observed, rank_service, with_image, without_image
from remote.engine import KNOWN_API

#: What `docker run` has and a Swarm service drops or refuses, in the Engine API's words.
NOT_IN_SWARM = {"devices", "devicerequests", "privileged", "ipcmode", "shmsize", "runtime", "networkmode"}


def spec(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "stack": "dgx",
        "rank": 1,
        "hf_cache": "/home/nvidia/.cache/huggingface",
        "env": {"NCCL_DEBUG": "INFO", "HF_HOME": "/mine"},
        "command": ["python3", "/opt/trtspark/rank0.py"],
        "configs": [File("trtspark-dgx-options-abc", "/opt/trtspark/options.yml")],
        "secrets": [File("trtspark-dgx-key", "trtspark-mpi-key", 0o400)],
    }
    return rank_service(Rank(**{**values, **changes}))


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {key.lower() for key in value} | {k for entry in value.values() for k in keys(entry)}
    return {k for entry in value for k in keys(entry)} if isinstance(value, list) else set()


def inspected(wanted: dict[str, Any]) -> dict[str, Any]:
    """As `docker service inspect` shows it: defaults added, zero values dropped, ids beside names."""
    actual = copy.deepcopy(wanted)
    task, container = actual["TaskTemplate"], actual["TaskTemplate"]["ContainerSpec"]
    for key in ("Args", "Configs", "Secrets", "Labels"):
        if not container[key]:
            del container[key]
    for kind in ("Config", "Secret"):
        for reference in container.get(f"{kind}s", []):
            reference[f"{kind}ID"] = "id-of-" + reference[f"{kind}Name"]
    if not actual["Mode"]["Replicated"]["Replicas"]:
        actual["Mode"]["Replicated"] = {"Replicas": 0}
    container |= {"Image": "release@sha256:1", "Isolation": "default", "DNSConfig": {}}
    if "Privileges" in container:
        container["Privileges"] |= {"CredentialSpec": None, "SELinuxContext": None}
    task |= {"ForceUpdate": 0, "Runtime": "container"}
    task["RestartPolicy"]["MaxAttempts"] = 0
    actual["UpdateConfig"] |= {"MaxFailureRatio": 0}
    actual["EndpointSpec"] = {"Mode": "vip"}
    return actual


def test_shared_memory_is_far_from_what_a_spark_has():
    [shm] = [
        mount for mount in spec()["TaskTemplate"]["ContainerSpec"]["Mounts"] if mount["Target"] == "/dev/shm"
    ]
    assert (64 << 20) < shm["TmpfsOptions"]["SizeBytes"] <= 4 << 30


def test_nothing_that_swarm_drops():
    assert keys(spec()).isdisjoint(NOT_IN_SWARM)


def test_the_rank_is_pinned_to_its_node_and_its_gpu():
    task = spec()["TaskTemplate"]
    assert task["Placement"]["Constraints"] == [
        "node.labels.trtspark.stack==dgx",
        "node.labels.trtspark.rank==1",
    ]
    [gpu] = task["Resources"]["Reservations"]["GenericResources"]
    assert gpu["DiscreteResourceSpec"] == {"Kind": "NVIDIA_GPU", "Value": 1}


def test_rdma_enters_through_the_runtime_and_memory_may_be_locked():
    container = spec()["TaskTemplate"]["ContainerSpec"]
    assert "NVIDIA_MOFED=enabled" in container["Env"]
    assert {"Name": "memlock", "Soft": -1, "Hard": -1} in container["Ulimits"]
    assert container["CapabilityAdd"] == ["CAP_IPC_LOCK"]


def cache_mounts(**changes: Any) -> dict[str, tuple[str, bool]]:
    mounts = spec(**changes)["TaskTemplate"]["ContainerSpec"]["Mounts"]
    return {m["Target"]: (m["Source"], m["ReadOnly"]) for m in mounts if m["Type"] == "bind"}


@pytest.mark.parametrize("cache", ["/home/nvidia/.cache/huggingface", "/data/hf/", "/"])
def test_of_the_cache_only_the_models_are_mounted_read_only(cache):
    """The Hub's token and stored_tokens lie in the cache's own folder."""
    inside, root = "/root/.cache/huggingface", cache.rstrip("/")
    assert cache_mounts(hf_cache=cache) == {f"{inside}/hub": (f"{root}/hub", True)}
    assert cache_mounts(hf_cache=cache, vocabularies=True) == {
        f"{inside}/hub": (f"{root}/hub", True),
        f"{inside}/tiktoken-encodings": (f"{root}/tiktoken-encodings", True),
    }


def restricted(port: int | None = 8355, engines: tuple[str, ...] = ("1.52", "1.44")) -> dict[str, Any]:
    task: dict[str, Any] = spec(privileges=least_privilege.of_rank(port, [*map(docker, engines)]))[
        "TaskTemplate"
    ]
    return task


def docker(api: str = "", installed: str = "") -> Docker:
    return Docker("", (), "", "inactive", False, api=api, installed=installed)


def test_a_rank_has_no_right_that_the_image_does_not_need():
    task = restricted()
    assert task["ContainerSpec"]["CapabilityDrop"] == list(DROPPED) == sorted(DROPPED)
    assert task["ContainerSpec"]["Privileges"] == {"NoNewPrivileges": True}
    assert task["Resources"]["Limits"] == {"Pids": PIDS}
    assert task["Resources"]["Reservations"], "its GPU"


def test_what_root_needs_for_the_users_files_and_to_end_its_ranks_stays():
    needed = {"CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_IPC_LOCK"}
    assert needed.isdisjoint(DROPPED)


@pytest.mark.parametrize(("port", "kept"), [(80, True), (1023, True), (1024, False), (None, False)])
def test_a_server_on_a_port_of_roots_may_bind_it_and_its_workers_may_not(port, kept):
    dropped = restricted(port)["ContainerSpec"]["CapabilityDrop"]
    assert ("CAP_NET_BIND_SERVICE" not in dropped) is kept
    assert set(dropped) | {"CAP_NET_BIND_SERVICE"} == set(DROPPED)


@pytest.mark.parametrize("engines", [("1.41", "1.52"), ("1.52", "1.43"), ("1.52", ""), ("1.52", "one.two")])
def test_no_new_privileges_are_not_asked_of_a_docker_that_would_drop_the_wish(engines):
    assert "Privileges" not in restricted(engines=engines)["ContainerSpec"]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Docker version 29.0.1, build 1a2b3c4", True),
        ("Docker version 25.0.0-rc.1, build 9cebefa", True),
        ("Docker version 24.0.9, build fca702d", False),
        ("Docker version 20.10.24+dfsg1, build 5d6db84", False),
        ("", False),
        (None, False),
        ("Docker version ²⁹, build \x1b", False),
    ],
)
def test_a_docker_that_may_not_be_asked_yet_is_judged_by_its_program(said, asked):
    """What the first `up` makes of it is what the second one finds: no rank starts twice."""
    denied = {"rc": 1, "out": "", "err": "permission denied"}
    found = engine({"program": True, "info": denied, "installed": said})
    task = spec(privileges=least_privilege.of_rank(8355, [found]))["TaskTemplate"]
    assert ("Privileges" in task["ContainerSpec"]) is asked


def test_the_api_we_speak_knows_no_new_privileges():
    assert tuple(map(int, KNOWN_API.split("."))) >= least_privilege.NO_NEW_PRIVILEGES_API


def test_unrestricted_is_dockers_default():
    task = spec(privileges=DOCKERS)["TaskTemplate"]
    assert {"CapabilityDrop", "Privileges"}.isdisjoint(task["ContainerSpec"])
    assert "Limits" not in task["Resources"]
    assert least_privilege.host_config(False) == {}


def test_compiled_kernels_are_kept_in_a_volume_that_says_whose_it_is():
    container = spec()["TaskTemplate"]["ContainerSpec"]
    [volume] = [m for m in container["Mounts"] if m["Type"] == "volume"]
    assert (volume["Source"], volume["Target"]) == ("trtspark-dgx-kernels", kernel_cache.VOLUME)
    assert volume["VolumeOptions"]["Labels"] == {"trtspark.stack": "dgx"}
    assert service_spec.volumes(spec()) == ["trtspark-dgx-kernels"]
    assert "TLLM_AUTOTUNER_CACHE_PATH=/opt/trtspark/kernels/autotuner.json" in container["Env"]


def test_mounts_are_in_the_order_that_the_docker_cli_gives_them():
    mounts = [(m.get("Source", ""), m["Target"]) for m in spec()["TaskTemplate"]["ContainerSpec"]["Mounts"]]
    assert mounts == sorted(mounts)


def test_the_image_is_told_to_rank_0_and_is_no_part_of_the_spec():
    container = spec()["TaskTemplate"]["ContainerSpec"]
    given = with_image(container, "release@sha256:1")
    assert given["Env"][-1] == "TRTSPARK_IMAGE=release@sha256:1"
    assert without_image(given)["Env"] == container["Env"]


def test_the_ranks_own_environment_wins_and_each_name_comes_once():
    env = spec()["TaskTemplate"]["ContainerSpec"]["Env"]
    assert "HF_HOME=/mine" in env
    names = [entry.partition("=")[0] for entry in env]
    assert names == sorted(set(names))


def test_order_of_variables_makes_no_difference():
    assert spec(env={"B": "1", "A": "2"}) == spec(env={"A": "2", "B": "1"})


def test_a_stopped_rank_keeps_its_service():
    assert spec(running=False)["Mode"] == {"Replicated": {"Replicas": 0}}


def test_secrets_are_for_root_alone():
    [secret] = spec()["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert secret == {
        "SecretName": "trtspark-dgx-key",
        "File": {"Name": "trtspark-mpi-key", "UID": "0", "GID": "0", "Mode": 0o400},
    }


def test_the_spec_is_plain_json():
    assert json.loads(json.dumps(spec())) == spec()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"configs": [], "secrets": [], "args": []},
        {"running": False},
        {"privileges": least_privilege.of_rank(8355, [docker("1.44")])},
    ],
)
def test_what_the_engine_adds_and_drops_is_no_drift(changes):
    wanted = spec(**changes)
    assert observed(wanted, inspected(wanted)) == wanted


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("TaskTemplate", "ContainerSpec", "Init"), False),
        (("TaskTemplate", "ContainerSpec", "Command"), ["sleep", "1"]),
        (("TaskTemplate", "ContainerSpec", "Mounts", 1, "ReadOnly"), False),
        (("TaskTemplate", "ContainerSpec", "Args"), ["--more"]),
        (("TaskTemplate", "Placement", "MaxReplicas"), 2),
        (("Mode", "Replicated", "Replicas"), 0),
        (("UpdateConfig", "Order"), "start-first"),
    ],
)
def test_a_changed_value_shows_as_exactly_that_value(path, value):
    wanted = spec()
    actual, expected = inspected(wanted), copy.deepcopy(wanted)
    for whole in (actual, expected):
        place: Any = whole
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
    assert observed(wanted, actual) == expected


def test_a_dropped_value_that_was_not_zero_is_drift():
    wanted = spec()
    actual = inspected(wanted)
    del actual["TaskTemplate"]["ContainerSpec"]["CapabilityAdd"]
    assert observed(wanted, actual)["TaskTemplate"]["ContainerSpec"]["CapabilityAdd"] is None


@pytest.mark.parametrize("stack", ["dgx", "x" * 100, "team.prod", "a_b-c"])
def test_names_are_dns_labels_and_differ_by_rank(stack):
    names = [service_spec.service_name(stack, rank) for rank in range(8)]
    assert len(set(names)) == 8
    for name in [*names, service_spec.object_name(stack, "options-file", b"x")]:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,61}[A-Za-z0-9]", name)


def test_stacks_that_look_alike_when_cut_have_names_of_their_own():
    stacks = ["x" * 40, "x" * 41, "team.prod", "team-prod"]
    assert len({service_spec.service_name(stack, 0) for stack in stacks}) == 4


def test_a_configs_name_changes_with_its_content_only():
    name = service_spec.object_name
    assert name("dgx", "options", b"a") == name("dgx", "options", b"a")
    assert name("dgx", "options", b"a") != name("dgx", "options", b"b")
