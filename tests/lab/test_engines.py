"""Docker 29 and NVIDIA's own runtime on the simulated Sparks: what they really do there."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab.sparks import DOCKER_29, Spark, fresh, lab, sparks_of
from tests.lab.stack import PREPARED

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-engines"
TOOLKITS = {"spark-1": "1.20.1", "spark-2": "1.19.1", "spark-3": "1.18.2", "spark-4": "1.17.8"}
BUSYBOX = """\
set -eu
mkdir -p image/bin
cp /bin/busybox image/bin/
for name in sh cat date echo ls; do ln -sf busybox image/bin/$name; done
tar -C image -c . | docker import - busybox >&2
echo '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "default-runtime": "nvidia"}' |
  sudo tee /etc/docker/daemon.json >&2
sudo systemctl reload docker
until docker info --format '{{.DefaultRuntime}}' | grep -q nvidia; do sleep 0.1; done
"""
CONTAINER = "docker run --rm --network host --ulimit memlock=-1"
LOOK = (
    "nvidia-smi -L; [ -c /dev/nvidia0 ] && (: <>/dev/nvidia0) && echo gpu;"
    " (: <>/dev/infiniband/uverbs3) && (: <>/dev/infiniband/rdma_cm) && echo rdma; true"
)
CONFIG = "/etc/nvidia-container-runtime/config.toml"


@pytest.fixture(scope="module")
def four():
    """One toolkit each; the second keeps its images in overlay2, as after an upgrade from Docker 28."""
    words = [f"--variant={node}:toolkit={version}" for node, version in TOOLKITS.items()]
    with fresh(NAME, "--nodes", "4", *DOCKER_29, *PREPARED, *words):
        sparks = sparks_of(NAME)
        for spark in sparks:
            spark.run(BUSYBOX)
        yield sparks


def seen(spark: Spark, *environment: str) -> list[str]:
    """What a container with that environment finds, in words: "gpu", "rdma"."""
    words = " ".join(f"-e {each}" for each in environment)
    done = spark.ssh(f"{CONTAINER} {words} busybox sh -c '{LOOK}'")
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert ("gpu" in found) == any(line.startswith("GPU 0: NVIDIA GB10") for line in found)
    return [word for word in found if word in ("gpu", "rdma")]


def test_versions(four):
    shown = four[0].run(
        "docker version --format '{{.Client.Version}} {{.Server.Version}} {{.Server.MinAPIVersion}}';"
        " containerd --version | cut -d ' ' -f 3; runc --version | head -n 1"
    )
    assert shown.split() == ["29.2.1", "29.2.1", "1.40", "2.3.5", "runc", "version", "1.3.3"]
    versions = [spark.run("nvidia-ctk --version").split()[5] for spark in four]
    assert versions == list(TOOLKITS.values())


def test_image_stores_differ(four):
    drivers = [spark.run("docker info --format '{{.Driver}}'") for spark in four]
    assert drivers == ["overlayfs", "overlay2", "overlayfs", "overlayfs"]


def test_every_toolkit_injects_gpu_and_rdma_in_mode_auto(four):
    for spark in four:
        assert seen(spark, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_MOFED=enabled") == ["gpu", "rdma"]
        assert seen(spark, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_MOFED=1") == ["gpu"]
        assert seen(spark, "NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_MOFED=enabled") == []
        unknown = spark.ssh(f"{CONTAINER} -e NVIDIA_VISIBLE_DEVICES=GPU-bogus busybox true")
        assert unknown.returncode != 0


def test_counters_of_who_has_rdma_can_be_written(four):
    """In the node's own sysfs, through NVIDIA's runtime too."""
    path = "/sys/class/infiniband/rocep1s0f0/ports/1/counters/port_xmit_data"
    container = f"{CONTAINER} -e NVIDIA_VISIBLE_DEVICES=all -e NVIDIA_MOFED=enabled"
    four[0].run(f"{container} busybox sh -c 'echo 4711 >{path}'")
    assert four[0].run(f"cat {path}") == "4711"
    refused = four[0].ssh(f"{CONTAINER} -e NVIDIA_VISIBLE_DEVICES=all busybox sh -c 'echo 1 >{path}'")
    assert "Read-only" in refused.stderr


def test_swarms_variable_is_ignored_by_118_only(four):
    """toolkit issue 1599, with a swarm-resource that names the variable Swarm really sets."""
    for spark in four:
        spark.run(
            f"sudo sed -i 's/^#swarm-resource.*/swarm-resource = \"DOCKER_RESOURCE_NVIDIA_GPU\"/' {CONFIG}"
        )
        uuid = spark.run("nvidia-smi --query-gpu=uuid --format=csv,noheader")
        expected = [] if TOOLKITS[spark.name] == "1.18.2" else ["gpu"]
        assert seen(spark, f"DOCKER_RESOURCE_NVIDIA_GPU={uuid}") == expected, spark.name


def test_mode_legacy_with_mofed_loses_the_gpu_since_119(four):
    """Unless swarm-resource matched: that is why `mode = "auto"` is left alone.

    The service sets both variables: by Swarm's alone 1.18.2 gives no RDMA devices in this mode.
    """
    for spark in four:
        spark.run(f"sudo sed -i 's/^mode = .*/mode = \"legacy\"/' {CONFIG}")
        lost = TOOLKITS[spark.name] in ("1.19.1", "1.20.1")
        found = seen(spark, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_MOFED=enabled")
        assert found == (["rdma"] if lost else ["gpu", "rdma"]), spark.name
        uuid = spark.run("nvidia-smi --query-gpu=uuid --format=csv,noheader")
        both = ("NVIDIA_VISIBLE_DEVICES=all", f"DOCKER_RESOURCE_NVIDIA_GPU={uuid}")
        matched = seen(spark, *both, "NVIDIA_MOFED=enabled")
        assert matched == ["gpu", "rdma"], spark.name
        spark.run(f"sudo sed -i 's/^mode = .*/mode = \"auto\"/' {CONFIG}")


def test_nvidia_ctk_is_the_real_one(four):
    printed = four[0].run(
        "nvidia-ctk runtime configure --runtime=docker --dry-run --set-as-default 2>/dev/null"
    )
    assert json.loads(printed)["default-runtime"] == "nvidia"
    assert four[0].run("nvidia-ctk cdi generate 2>/dev/null | grep -c 'path: /dev/nvidia0'") != "0"


def test_systemctl_and_journalctl_work_for_them(four):
    spark = four[1]
    spark.run("sudo systemctl restart docker && docker version")
    assert spark.run("systemctl is-active docker containerd").split() == ["active", "active"]
    assert "Docker daemon" in spark.run("journalctl -u docker -n 200 --no-pager")


def test_a_swarm_across_image_stores_outlives_a_power_cut(four):
    one, two = four[:2]
    one.run("docker swarm init --advertise-addr 192.168.100.11")
    token = one.run("docker swarm join-token -q worker")
    two.run(f"docker swarm join --token {token} 192.168.100.11:2377")
    lab("power", "off", "spark-2", name=NAME)
    lab("power", "on", "spark-2", name=NAME)
    end = time.monotonic() + 60
    ready = "docker node ls --format '{{.Hostname}} {{.Status}}' | sort | tr '\\n' ' '"
    while one.run(ready) != "spark-1 Ready spark-2 Ready":
        assert time.monotonic() < end, one.run(ready)
        time.sleep(0.2)
    assert two.run("docker info --format '{{.Driver}}'") == "overlay2"
    two.run("docker swarm leave")
    one.run("docker swarm leave --force")
