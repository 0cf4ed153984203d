"""The simulated Sparks themselves: what they show, and that nothing of them stays behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.state import Lab
from tests.lab.sparks import Spark, fresh, sparks_of
from tests.lab.sparks import lab as sparks_lab
from tests.lab.stack import PREPARED

pytestmark = [pytest.mark.lab, pytest.mark.long]
ROOT = Path(__file__).parents[2]
NAME = "t-nodes"
BUSYBOX = """\
set -eu
mkdir -p image/bin
cp /bin/busybox image/bin/
for name in sh cat date echo ls; do ln -sf busybox image/bin/$name; done
tar -C image -c . | docker import - busybox >&2
"""
RUNTIME = """\
set -eu
echo '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "default-runtime": "nvidia"}' |
  sudo tee /etc/docker/daemon.json >&2
sudo systemctl reload docker
"""


def lab(*words: str, name: str = NAME, ok: bool = True) -> subprocess.CompletedProcess[str]:
    return sparks_lab(*words, name=name, ok=ok)


@pytest.fixture(scope="module")
def sparks() -> Iterator[list[Spark]]:
    with fresh(NAME, "--nodes", "2", *PREPARED):
        yield sparks_of(NAME)


def wait_for(spark: Spark, command: str, wanted: str, deadline: float = 30.0) -> None:
    end = time.monotonic() + deadline
    while (seen := spark.ssh(command).stdout.strip()) != wanted:
        assert time.monotonic() < end, f"{command}: {seen!r} after {deadline} s, not {wanted!r}"
        time.sleep(0.2)


def test_login_with_the_pinned_host_key_only(sparks, tmp_path):
    one, two = sparks
    assert one.run("hostname; id -un; echo $PATH").split() == [
        "spark-1",
        "nvidia",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games:/snap/bin",
    ]
    other_key = Path(one.known_hosts).read_text().splitlines()[1].split()[1:]
    wrong = tmp_path / "known_hosts"
    wrong.write_text(" ".join([one.host, *other_key]) + "\n")
    refused = one.ssh("true", known_hosts=str(wrong))
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr
    assert two.run("sudo -n id -u") == "0"


def test_of_the_host_only_the_system_shows(sparks):
    spark = sparks[0]
    assert spark.ssh(f"test -e {ROOT}").returncode == 1
    assert spark.run("ls -A /usr/local /mnt /opt; sudo ls -A /root; command -v docker").splitlines()[-1] == (
        "/usr/bin/docker"
    )
    assert spark.run("ls /home").split() == ["nvidia"]
    assert spark.ssh("test -e /etc/docker/daemon.json").returncode == 1
    assert spark.run(". /etc/os-release; echo $ID $VERSION_ID") == "ubuntu 24.04"
    interfaces = {"lo", "docker0", "enP7s7", "enp1s0f0np0", "enp1s0f1np1", "enP2p1s0f0np0", "enP2p1s0f1np1"}
    assert set(spark.run("ls /sys/class/net").split()) == interfaces
    keys = spark.run("cat .ssh/authorized_keys; echo '|'")
    assert keys.endswith(" owner@laptop|"), "the line that was there has to lack its newline"


def test_one_gb10_with_a_uuid_of_its_own(sparks):
    query = "nvidia-smi --query-gpu=name,uuid,memory.total --format=csv,noheader"
    one, two = (spark.run(query).split(", ") for spark in sparks)
    assert (one[0], one[2]) == ("NVIDIA GB10", "[N/A]")
    assert one[1].startswith("GPU-")
    assert one[1] != two[1]
    unknown = sparks[0].ssh("nvidia-smi --query-gpu=bogus --format=csv")
    assert (unknown.returncode, 'Field "bogus" is not a valid field to query.' in unknown.stdout) == (2, True)


def test_rdma_devices_follow_the_cable(sparks):
    spark = sparks[0]
    plugged = [
        "roceP2p1s0f0 port 1 ==> enP2p1s0f0np0 (Up)",
        "roceP2p1s0f1 port 1 ==> enP2p1s0f1np1 (Down)",
        "rocep1s0f0 port 1 ==> enp1s0f0np0 (Up)",
        "rocep1s0f1 port 1 ==> enp1s0f1np1 (Down)",
    ]
    assert spark.run("ibdev2netdev").splitlines() == plugged
    gid = spark.run("cat /sys/class/infiniband/rocep1s0f0/ports/1/gids/3")
    assert gid == "0000:0000:0000:0000:0000:ffff:c0a8:640b"
    spark.run("ping -q -c 1 -W 2 192.168.101.12")
    lab("link", "down", "spark-1", "half1")
    wait_for(spark, "ibdev2netdev | head -n 1", plugged[0].replace("Up", "Down"))
    assert spark.ssh("ping -q -c 1 -W 1 192.168.101.12").returncode == 1
    spark.run("ping -q -c 1 -W 2 192.168.100.12")
    lab("link", "up", "spark-1", "half1")
    wait_for(spark, "ibdev2netdev | head -n 1", plugged[0])


def test_runtime_injects_what_a_container_asks_for(sparks):
    spark = sparks[0]
    spark.run(BUSYBOX)
    spark.run(RUNTIME)
    look = "nvidia-smi -L; (: <>/dev/infiniband/uverbs3) && (: <>/dev/infiniband/rdma_cm) && echo opens"
    container = "docker run --rm --network host --ulimit memlock=-1"
    gpu = "-e NVIDIA_VISIBLE_DEVICES=all"
    both = spark.run(f"{container} {gpu} -e NVIDIA_MOFED=enabled busybox sh -c '{look}'").splitlines()
    assert both == [spark.run("nvidia-smi -L"), "opens"]
    without_word = spark.ssh(f"{container} {gpu} -e NVIDIA_MOFED=1 busybox sh -c '{look}'")
    assert "opens" not in without_word.stdout
    nothing = spark.ssh(
        f"{container} -e NVIDIA_VISIBLE_DEVICES=void -e NVIDIA_MOFED=enabled busybox sh -c '{look}; ls /dev'"
    )
    assert "GPU" not in nothing.stdout
    assert "nvidia0" not in nothing.stdout
    # The kernel shows a host's devices to its network namespace, but a bind mount gives no right to them.
    bound = spark.ssh(
        f"{container} -v /dev/infiniband:/dev/infiniband busybox sh -c 'ls /sys/class/infiniband; {look}'"
    )
    assert bound.stdout.split()[:1] == ["roceP2p1s0f0"]
    assert "opens" not in bound.stdout
    missing = spark.ssh(f"{container} -e NVIDIA_VISIBLE_DEVICES=GPU-bogus busybox true")
    assert missing.returncode == 125
    assert "Not Found" in missing.stderr


def test_swarm_outlives_a_power_cut(sparks):
    one, two = sparks
    one.run("docker swarm init --advertise-addr 192.168.100.11")
    token = one.run("docker swarm join-token -q worker")
    two.run(f"docker swarm join --token {token} 192.168.100.11:2377")
    ready = "docker node ls --format '{{.Hostname}} {{.Status}}' | sort | tr '\\n' ' '"
    wait_for(one, ready, "spark-1 Ready spark-2 Ready")
    two.run("sudo touch /etc/kept /tmp/lost")
    macs = two.run("cat /sys/class/net/*/address | grep ^3c:6d:66 | sort")
    lab("power", "off", "spark-2")
    assert one.ssh("ping -q -c 1 -W 1 192.168.100.12").returncode == 1
    seen = json.loads(lab("status", "--json", ok=False).stdout)
    assert [node["power"] for node in seen["nodes"]] == ["on", "off"]
    lab("power", "on", "spark-2")
    assert two.run("cat /sys/class/net/*/address | grep ^3c:6d:66 | sort") == macs
    assert two.run("ls /etc/kept; ls /tmp") == "/etc/kept"
    wait_for(two, "docker info --format '{{.Swarm.LocalNodeState}}'", "active")
    wait_for(one, ready, "spark-1 Ready spark-2 Ready")
    two.run("docker swarm leave")
    one.run("docker swarm leave --force")


def test_docker_starts_three_times_a_minute(sparks):
    spark = sparks[1]
    assert "authentication required" in spark.ssh("systemctl restart docker").stderr
    unknown = spark.ssh("sudo systemctl restart bogus")
    assert (unknown.returncode, unknown.stderr) == (
        5,
        "Failed to restart bogus.service: Unit bogus.service not found.\n",
    )
    for _ in range(3):
        spark.run("sudo systemctl restart docker && docker version")
    refused = spark.ssh("sudo systemctl restart docker")
    assert refused.returncode == 1
    assert "attempted too often" in refused.stderr
    assert spark.ssh("systemctl is-active docker").stdout == "failed\n"
    spark.run("sudo systemctl reset-failed docker && sudo systemctl start docker && docker version")


def test_up_again_does_nothing(sparks):
    before = sparks[0].run("cat /proc/sys/kernel/random/boot_id; ls -di /tmp; pgrep -x dockerd")
    begun = time.monotonic()
    lab("up")
    assert time.monotonic() - begun < 3.0, "1 s is usual"
    assert sparks[0].run("cat /proc/sys/kernel/random/boot_id; ls -di /tmp; pgrep -x dockerd") == before


def test_down_leaves_nothing(sparks):
    lab("down")
    assert traces(NAME) == []


def test_down_after_half_an_up():
    name = "t-half"
    up = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--name", name],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(0.8)
    up.send_signal(signal.SIGKILL)
    up.wait()
    lab("down", name=name)
    assert traces(name) == []


def test_variants(tmp_path):
    daemon = tmp_path / "daemon.json"
    daemon.write_text('{"labels": ["whose=mine"]}')
    name = "t-variants"
    try:
        refused = lab("up", "--variant", "spark-9:no-gpu", name=name, ok=False)
        assert "there is no node 'spark-9', only spark-1, spark-2" in refused.stderr
        words = ["no-gpu", f"daemon-json={daemon}"]
        lab("up", "--nodes", "1", *(f"--variant={word}" for word in words), name=name)

        def inside(command: str) -> subprocess.CompletedProcess[str]:
            return lab("exec", "spark-1", "--", "sh", "-c", command, name=name, ok=False)

        assert inside("nvidia-smi").stdout == "No devices were found\n"
        assert inside("nvidia-smi").returncode == 6
        assert "docker" not in inside("id -nG nvidia").stdout
        assert inside("docker info --format '{{.Labels}}'").stdout == "[whose=mine]\n"
        lab("down", name=name)
        daemon.write_text("{")
        lab("up", "--nodes", "1", f"--variant=daemon-json={daemon}", name=name)
        assert "unexpected EOF" in inside("journalctl -u docker -n 4").stdout
    finally:
        lab("down", name=name)
    assert traces(name) == []


def traces(name: str) -> list[str]:
    """What this machine still shows of a lab: names, mounts, control groups, processes, files."""
    there = Lab(name)
    found = [str(path) for path in Path("/run/netns").glob(f"{there.id}*")]
    found += [str(path) for path in Path("/sys/class/net").glob(f"{there.id}*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{there.id}")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(there.folder) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [words] if str(there.folder) in words else []
    return found + ([str(there.folder)] if there.folder.exists() else [])
