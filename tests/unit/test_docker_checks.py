"""Docker, NVIDIA's toolkit and the Swarm: what is warned of, what is refused, and what preparing will do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster import checks, gpu_clock, preparation
from cluster.checks.docker import FLAGS
from cluster.facts import Container, Facts, SwarmState, Toolkit
from remote.node import config_toml, daemon_json
from tests import samples

TOOLKIT = Toolkit("1.19.0", "auto", "", True)


def spark(**changes: Any) -> Facts:
    """A fresh one; `docker_…` changes its Docker."""
    docker = {k.removeprefix("docker_"): v for k, v in changes.items() if k.startswith("docker_")}
    rest = {k: v for k, v in changes.items() if not k.startswith("docker_")}
    first = dataclasses.replace(samples.facts(1)[0], container_toolkit=TOOLKIT)
    return dataclasses.replace(first, docker=dataclasses.replace(first.docker, **docker), **rest)


def prepared(**changes: Any) -> Facts:
    gpu = f"NVIDIA_GPU={spark().gpu_uuid}"
    ready = {
        "daemon_json": {
            "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}},
            "default-runtime": "nvidia",
            "node-generic-resources": [gpu],
        },
        "container_toolkit": dataclasses.replace(TOOLKIT, swarm_resource="DOCKER_RESOURCE_NVIDIA_GPU"),
        "groups": ("nvidia", "docker"),
        "docker_runtimes": ("nvidia", "runc"),
        "docker_default_runtime": "nvidia",
        "docker_generic_resources": (gpu,),
    }
    return spark(**{**ready, **changes})


def said(check: str, facts: Facts, nodes: int = 2, **settings: Any) -> list[str]:
    """The findings of one check, "LEVEL sentence", on the head."""
    others = [dataclasses.replace(one, container_toolkit=TOOLKIT) for one in samples.facts(nodes)[1:]]
    context = checks.Context(
        "dgx", samples.settings(nodes, **settings), [facts, *others], [samples.cache()] * nodes
    )
    found = checks.CHECKS[check](context)
    return [f"{one.level} {one}" for one in found if one.node == facts.node]


# --- preparation, thing by thing


def test_a_prepared_spark_needs_nothing():
    assert preparation.steps(prepared()) == []
    assert not preparation.restarts(prepared())


def test_the_names_are_those_that_the_nodes_program_writes():
    assert preparation.SWARM_RESOURCE == config_toml.OURS
    assert preparation.GPU_KIND == daemon_json.KIND
    assert FLAGS == daemon_json.FLAGS


GPU = f"NVIDIA_GPU={spark().gpu_uuid}"


@pytest.mark.parametrize(
    ("broken", "steps"),
    [
        (
            {"groups": ("nvidia",), "login_groups": ("nvidia", "docker")},
            ["group docker: not a member -> member"],
        ),
        (
            {"daemon_json": {**prepared().daemon_json, "default-runtime": "runc"}},
            ["daemon.json default-runtime: runc -> nvidia"],
        ),
        (
            {"daemon_json": {}},
            [
                "daemon.json runtimes.nvidia: none -> there",
                "daemon.json default-runtime: none -> nvidia",
                f"daemon.json node-generic-resources: none -> {GPU}",
            ],
        ),
        (
            {"container_toolkit": TOOLKIT},
            ["config.toml swarm-resource: not set -> DOCKER_RESOURCE_NVIDIA_GPU"],
        ),
        ({"docker_default_runtime": "runc"}, ["running Docker default runtime: runc -> nvidia"]),
        ({"docker_runtimes": ("runc",)}, ["running Docker runtime: none -> there"]),
        ({"docker_generic_resources": ()}, [f"running Docker GPU: none -> {GPU}", "Docker restarts"]),
        (
            {"docker_generic_resources": ("NVIDIA_GPU=GPU-old", GPU)},
            [f"running Docker GPU: NVIDIA_GPU=GPU-old, {GPU} -> {GPU}", "Docker restarts"],
        ),
    ],
)
def test_each_thing_broken_by_hand_is_named(broken, steps):
    assert preparation.steps(prepared(**broken)) == steps


def test_another_name_beside_ours_and_no_config_at_all_are_right():
    both = dataclasses.replace(TOOLKIT, swarm_resource="OTHER, DOCKER_RESOURCE_NVIDIA_GPU")
    assert preparation.steps(prepared(container_toolkit=both)) == []
    assert preparation.steps(prepared(container_toolkit=Toolkit("1.19.0"))) == []


def test_a_docker_that_cannot_be_asked_is_not_seen_rather_than_wrong():
    found = preparation.found(prepared(groups=(), docker_problem="denied"))
    assert found[preparation.HAS_GPU] == "not seen"
    assert found[preparation.GROUP] == "not a member"


# --- group docker


def denied(**changes: Any) -> Facts:
    return prepared(docker_problem="denied", groups=("nvidia",), **changes)


def test_who_may_not_use_docker_gets_the_one_line_and_the_key():
    [text] = said("docker.answers", denied())
    assert text.startswith("FAIL")
    assert "`sudo usermod -aG docker nvidia`" in text
    assert "`pulumi config set dockerGroup true`" in text


def test_a_login_that_is_older_than_the_loss_of_the_group_is_told():
    facts = prepared(groups=("nvidia",), login_groups=("nvidia", "docker"))
    [text] = said("docker.answers", facts)
    assert text.startswith("FAIL 10.24.11.11: user nvidia is no longer in group docker")
    assert said("docker.answers", facts, dockerGroup=True) == []


def test_whom_the_socket_lets_in_otherwise_needs_no_group():
    facts = prepared(groups=("nvidia",), login_groups=("nvidia",))
    assert preparation.steps(facts) == []
    assert said("docker.answers", facts) == []


def test_with_the_key_preparing_does_it():
    assert said("docker.answers", denied(), dockerGroup=True) == []
    assert "group docker: not a member -> member" in preparation.steps(denied())


def test_that_needs_sudo():
    [text] = said("docker.sudo", denied(sudo=False), dockerGroup=True)
    assert "docs/preparing.md" in text


# --- live-restore, options


def test_live_restore_runs():
    [text] = said("docker.live-restore", spark(docker_live_restore=True))
    assert text.startswith("FAIL 10.24.11.11: Docker runs with live-restore, which Swarm refuses.")
    assert "systemctl cat docker" in text


def test_live_restore_in_the_file_that_the_daemon_has_not_read():
    [text] = said("docker.live-restore", spark(daemon_json={"live-restore": True}))
    assert text.startswith("FAIL")
    assert "has not read yet" in text
    assert said("docker.live-restore", spark(daemon_json={"live-restore": False})) == []


def test_keys_on_dockerds_command_line():
    facts = spark(docker_flags=("--add-runtime", "--containerd", "--node-generic-resource"))
    [text] = said("docker.options", facts)
    assert text.startswith("FAIL 10.24.11.11: dockerd has node-generic-resources on its command line")
    assert said("docker.options", spark(docker_flags=("--add-runtime", "--containerd"))) == []


def test_another_settings_file():
    [text] = said("docker.options", spark(docker_config_file="/etc/docker/other.json"))
    assert "/etc/docker/other.json" in text


# --- the restart


def test_the_restart_is_told_with_what_it_stops_and_what_comes_back():
    containers = (
        Container("jupyter", "j:1", False, False),
        Container("db", "db:1", False, True),
        Container("web", "w:1", False, True),
    )
    [text] = said("docker.restart", spark(docker_containers=containers))
    assert text.startswith("WARN 10.24.11.11: Docker will restart")
    assert "It stops jupyter: start them again by hand." in text
    assert "Stopped and started again by their own policy: db, web." in text


def test_a_restart_that_stops_nothing_says_so():
    [text] = said("docker.restart", spark())
    assert text.startswith("NOTE 10.24.11.11: Docker will restart")
    assert "No container runs there." in text


def test_a_reload_or_nothing_to_do_is_no_restart():
    assert said("docker.restart", prepared()) == []
    assert said("docker.restart", prepared(docker_default_runtime="runc")) == []


def test_before_the_user_is_in_the_group_the_containers_cannot_be_seen():
    [text] = said("docker.restart", denied(), dockerGroup=True)
    assert "cannot be seen" in text


# --- NVIDIA's container toolkit


def toolkit(version: str = "1.19.0", mode: str = "auto", **changes: Any) -> Facts:
    return spark(container_toolkit=dataclasses.replace(TOOLKIT, version=version, mode=mode, **changes))


@pytest.mark.parametrize("version", ["1.10.0", "1.10.0~rc.3", "1.9.0"])
def test_before_1_11_there_are_no_rdma_devices(version):
    [text] = said("toolkit.there", toolkit(version))
    assert text.startswith(f"FAIL 10.24.11.11: its NVIDIA container toolkit {version} gives tasks no RDMA")
    assert said("toolkit.there", toolkit(version), nodes=1) == [], "one node needs none"


@pytest.mark.parametrize("version", ["1.11.0", "1.17.8", "1.18.0", "1.18.2", "1.19.1", "1.20.1"])
def test_auto_is_right_from_1_11_on_1_18_too(version):
    """1.18 does not look at swarm-resource in auto: the service sets NVIDIA_VISIBLE_DEVICES=all for it."""
    for check in ("toolkit.there", "toolkit.mode", "toolkit.config"):
        assert said(check, toolkit(version)) == []


def test_without_the_toolkit():
    [text] = said("toolkit.there", spark(container_toolkit=Toolkit()))
    assert text.startswith("FAIL")
    assert "apt-get install nvidia-container-toolkit" in text
    assert said("toolkit.config", spark(container_toolkit=Toolkit())) == []


def test_without_its_settings_file_it_works():
    [text] = said("toolkit.config", spark(container_toolkit=Toolkit("1.19.0")))
    assert text.startswith("WARN")


def test_legacy_with_1_19_hangs_on_our_line():
    [text] = said("toolkit.mode", toolkit("1.19.1", "legacy"))
    assert text.startswith("WARN")
    assert "only the swarm-resource line keeps the GPU" in text
    assert 'mode = "auto"' in text
    assert "config.toml swarm-resource: not set -> DOCKER_RESOURCE_NVIDIA_GPU" in preparation.steps(
        toolkit("1.19.1", "legacy")
    )


def test_legacy_before_1_19_loses_the_gpu_to_a_daemon_reload_only():
    [text] = said("toolkit.mode", toolkit("1.17.8", "legacy"))
    assert "swarm-resource" not in text
    assert "systemctl daemon-reload" in text


@pytest.mark.parametrize("mode", ["cdi", "csv"])
def test_modes_that_do_not_know_mofed(mode):
    assert said("toolkit.mode", toolkit(mode=mode))[0].startswith("FAIL")
    assert said("toolkit.mode", toolkit(mode=mode), nodes=1) == []


# --- the Swarm's certificates


def test_an_adopted_swarm_with_dockers_own_ninety_days():
    [text] = said("swarm.certificates", spark(docker_swarm=SwarmState("active", certificate_days=90.0)))
    assert text.startswith("WARN 10.24.11.11: its Swarm's certificates are good for 90 days")
    assert "`docker swarm update --cert-expiry 87600h`" in text


@pytest.mark.parametrize("days", [None, 365.0, 3650.0])
def test_ours_a_worker_and_no_swarm_are_right(days):
    assert said("swarm.certificates", spark(docker_swarm=SwarmState(certificate_days=days))) == []


EXPIRED = SwarmState("error", error="certificate (1 - abc) not valid after …: x509: certificate has expired")


def test_an_expired_manager_stops_with_the_way_out():
    [text] = said("swarm.expired", spark(docker_swarm=EXPIRED))
    assert text.startswith("FAIL 10.24.11.11: its Swarm certificate has expired.")
    assert "`docker swarm leave --force`" in text
    assert "`pulumi up --refresh`" in text


def test_an_expired_worker_is_for_up_to_decide():
    nodes = [samples.facts(1)[0], dataclasses.replace(spark(docker_swarm=EXPIRED), node="10.24.11.12")]
    context = checks.Context("dgx", samples.settings(2), nodes, [samples.cache()] * 2)
    [found] = checks.CHECKS["swarm.expired"](context)
    assert (found.level, found.node) == ("WARN", "10.24.11.12")
    assert "if this stack took it in" in found.todo


def test_a_cap_on_the_clock_needs_sudo_until_it_is_there():
    prepared = denied(sudo=False)
    [text] = said("gpu.clock", prepared, gpuClockLimit="2200")
    assert text.startswith("FAIL 10.24.11.11: ")
    assert "2200 MHz" in text
    assert not said("gpu.clock", denied(sudo=False, clock_limit=2200), gpuClockLimit="2200")
    assert not said("gpu.clock", prepared)


def test_a_link_in_the_place_of_the_clocks_unit_counts_where_a_cap_is_to_be_set():
    facts = prepared(links={gpu_clock.UNIT: "/dev/null"})
    assert said("docker.settings-link", facts) == []
    [text] = said("docker.settings-link", facts, gpuClockLimit="2200")
    assert f"{gpu_clock.UNIT} is a symbolic link to /dev/null" in text
