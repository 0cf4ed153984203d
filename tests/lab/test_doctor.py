"""The doctor and the logs on a simulated pair: well before and after `up`, and one fault at a time.

The tests of this file are one story on one pair. Each fault is made by hand, looked at, and mended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.lab import stack as stacks
from tests.lab.sparks import fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-doctor"
TRTSPARK = str(stacks.ROOT / ".venv/bin/trtspark")
MODEL = "openai/gpt-oss-20b"
TOKEN = "hf_CanaryCanaryCanaryCanary"
LOSS = re.compile("packets were lost|segments again")
#: What a fault or its mending may leave behind, which is right: restarts count for an hour; adapters count
#: the packets that two different MTUs lost until their driver starts again.
AFTERMATH = {"service.restarts": "", "fabric.errors": "sent again"}


@pytest.fixture(scope="module")
def lab():
    with fresh(NAME, "--nodes", "2", *stacks.PREPARED) as found:
        yield found


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("doctor") / "project", lab)
    one.set("model", MODEL)
    one.set("readyTimeout", 60)
    one.set("fabricTest", "full")
    one.env["HF_ENDPOINT"] = lab["hub"]
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def trtspark(stack: stacks.Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRTSPARK, *words], cwd=stack.folder, env=stack.env, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=stacks.DEADLINE_S, check=False,
    )  # fmt: skip


def doctor(stack: stacks.Stack, *words: str) -> dict[str, Any]:
    """--json's document; the exit code is the number of failures."""
    done = trtspark(stack, "doctor", "--json", *words)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == document["summary"]["fail"], done.stderr
    return document


def wrong(document: dict[str, Any]) -> list[dict[str, str]]:
    """What is not well; but for the throughput of cables without loss, as two busy cores leave little."""
    return [
        one
        for one in document["checks"]
        if one["status"] in ("WARN", "FAIL")
        and not (one["check"] == "fabric.test" and "Gb/s" in one["found"] and not LOSS.search(one["found"]))
    ]


#: Of the 112 Gb/s of a simulated rail: two busy cores leave less.
HALF_OF_A_RAIL = 56


def told(document: dict[str, Any], begins: str) -> str:
    """The cables' test's one line that begins so."""
    [found] = [
        one["found"]
        for one in document["checks"]
        if one["check"] == "fabric.test" and one["found"].startswith(begins)
    ]
    return str(found)


def rdma(document: dict[str, Any]) -> list[float]:
    """RDMA's rates in Gb/s: rail by rail, there and back."""
    lines = [one["found"] for one in document["checks"] if "; RDMA " in one["found"]]
    found = [re.search(r"RDMA ([\d.]+) and ([\d.]+) Gb/s", line) for line in lines]
    return [float(rate) for one in found if one for rate in one.groups()]


def test_a_fresh_pair_is_well_before_the_first_up(stack, lab):
    before = stacks.leavings(lab)
    document = doctor(stack, "--full")
    assert wrong(document) == []
    assert not document["deployed"]
    assert any("Docker will restart" in one["found"] for one in document["checks"])
    assert min(rdma(document)) > HALF_OF_A_RAIL
    assert "not on" in told(document, "NCCL was not tested")
    stacks.same(lab, before)


def test_a_deployed_pair_is_well_by_every_check(stack, lab):
    stack.up()
    [nccl] = [line for line in stack.output("fabric") if line.startswith("NCCL")]
    assert float(re.findall(r"([\d.]+) Gb/s", nccl)[0]) > HALF_OF_A_RAIL, nccl
    assert [line for line in stack.output("fabric") if "rails at once" in line]
    document = doctor(stack, "--full")
    assert f"the server runs on {lab['nodes'][0]['host']}" in told(document, "NCCL was not tested")
    for node in (0, 1):
        assert not stacks.inside(lab, node, "docker ps --all --quiet --filter label=trtspark.test").strip()
    assert wrong(document) == []
    assert [one["check"] for one in document["checks"] if one["status"] == "SKIP"] == []
    assert len(document["checks"]) > 60
    assert "NVIDIA GB10" in document["nodes"][1]["machine"]


def test_every_part_of_it_is_well_too(stack):
    for part in ("--head", "--worker", "--swarm"):
        document = doctor(stack, "--quick", part)
        assert wrong(document) == []
        assert document["checks"]
    assert all(one["node"] != stack.lab["nodes"][0]["host"] for one in doctor(stack, "--worker")["checks"])


@dataclass(frozen=True)
class Fault:
    """`make` and `mend` run as root inside node `node`; `about` is that node, or no one in particular."""

    check: str
    level: str
    node: int
    make: str
    mend: str
    found: str
    fix: str
    about_node: bool = True


GPT = "/home/nvidia/.cache/huggingface/hub/models--openai--gpt-oss-20b"
SHARD = f"$(readlink -f {GPT}/snapshots/*/model-00001-of-00001.safetensors)"
COUNTER = "/sys/class/infiniband/rocep1s0f0/ports/1/counters/symbol_error"
WIDTH = "/sys/class/infiniband/roceP2p1s0f0/device/current_link_width"
CPUS = f"0-{(os.cpu_count() or 1) - 1}"
#: Puts the threads of rank 1 on these CPUs.
BIND = (
    "for pid in $(docker top $(docker ps -qf label=trtspark.rank=1) -eo pid,args "
    "| awk '/mgmn_worker_node/ {print $1}'); do taskset -apc {} $pid; done >&2"
)
FAULTS = [
    Fault(
        "ranks.cores", "WARN", 1,
        BIND.replace("{}", "0"), BIND.replace("{}", CPUS),
        f"threads may only run on CPU 0, not on all of {CPUS} (", "--bind-to none",
    ),
    Fault(
        "gpu.found", "FAIL", 1,
        "cp /etc/lab/gpu /etc/lab/gpu.keep; : >/etc/lab/gpu",
        "cat /etc/lab/gpu.keep >/etc/lab/gpu",
        "no GPU found: nvidia-smi says 'No devices were found'.", "reboot",
    ),
    Fault(
        "fabric.errors", "WARN", 1,
        f"echo 7 >{COUNTER}", f"echo 0 >{COUNTER}",
        ": errors were counted (symbol_error 7) since its driver started.", "Push the cable in",
    ),
    Fault(
        "fabric.pcie", "WARN", 1,
        f"echo 2 >{WIDTH}", f"echo 4 >{WIDTH}",
        "roceP2p1s0f0 (enP2p1s0f0np0, PCI 0002:01:00.0) has a PCIe link of x2 at 32 GT/s", "unplug it",
    ),
    Fault(
        "fabric.mtu", "WARN", 1,
        "ip link set enp1s0f0np0 mtu 1500", "ip link set enp1s0f0np0 mtu 9000",
        "have different MTUs", "set the same on all", about_node=False,
    ),
    Fault(
        "weights.deployed", "FAIL", 1,
        f"cp -p {SHARD} /root/shard; truncate --size=-1 {SHARD}", f"cp -p /root/shard {SHARD}",
        "is not whole in /home/nvidia/.cache/huggingface: model-00001-of-00001.safetensors has",
        "`pulumi refresh`, then `pulumi up`",
    ),
    Fault(
        "deployed.prepared", "FAIL", 1,
        "cp -p /etc/docker/daemon.json /root; echo '{}' >/etc/docker/daemon.json",
        "cp -p /root/daemon.json /etc/docker",
        "Docker is not prepared as it was: daemon.json runtimes.nvidia: none -> there",
        "`pulumi refresh`, then `pulumi up`",
    ),
    Fault(
        "network.firewall", "FAIL", 1,
        "ufw allow 22/tcp >/dev/null; ufw --force enable >/dev/null", "ufw --force disable >/dev/null",
        "ufw does not let in 7946/tcp", "sudo ufw allow in on enP7s7 proto tcp from any to any port 7946",
    ),
    Fault(
        "service.running", "FAIL", 0,
        "docker service scale --detach trtspark-lab-rank-0=0",
        "docker service scale --detach trtspark-lab-rank-0=1",
        "trtspark-lab-rank-0 is scaled to 0 although `running` is true.",
        "`pulumi refresh`, then `pulumi up`", about_node=False,
    ),
    Fault(
        "docker.answers", "FAIL", 1,
        "systemctl stop docker", "systemctl start docker",
        "Docker does not answer", "sudo systemctl start docker",
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.check for fault in FAULTS])
def test_a_fault_is_named_with_its_fix(stack, lab, fault):
    stacks.inside(lab, fault.node, fault.make)
    try:
        document = doctor(stack, "--quick")
    finally:
        stacks.inside(lab, fault.node, fault.mend)
    named = [one for one in wrong(document) if one["check"] == fault.check and fault.found in one["found"]]
    assert len(named) == 1, json.dumps(wrong(document), indent=1)
    assert named[0]["status"] == fault.level
    assert fault.fix in named[0]["fix"]
    assert named[0]["node"] == (lab["nodes"][fault.node]["host"] if fault.about_node else "")
    stacks.until(lambda: healthy(stack), 90, "the pair to be well again")


def healthy(stack: stacks.Stack) -> bool:
    found = wrong(doctor(stack, "--quick"))
    return all(AFTERMATH.get(one["check"], "\0") in one["found"] for one in found)


def test_a_cable_half_out_is_a_warning(stack, lab):
    stacks.lab_command(lab, "link", "down", "spark-2", "half1")
    try:
        found = wrong(doctor(stack, "--quick"))
    finally:
        stacks.lab_command(lab, "link", "up", "spark-2", "half1")
    [named] = [one for one in found if one["check"] == "fabric.halves"]
    assert "has no link: half of the bandwidth is lost." in named["found"]


def test_a_rail_that_is_throttled_is_named_and_the_other_is_not(stack, lab):
    shaped = "dev enP2p1s0f0np0 root"
    stacks.inside(lab, 1, f"tc qdisc add {shaped} tbf rate 20mbit burst 32k latency 50ms")
    try:
        document = doctor(stack, "--full")
    finally:
        stacks.inside(lab, 1, f"tc qdisc del {shaped}")
    slow = [
        one["found"]
        for one in document["checks"]
        if one["status"] == "WARN" and "RDMA writes reach" in one["found"]
    ]
    way = "spark-2 enP2p1s0f0np0 (roceP2p1s0f0) to spark-1 enP2p1s0f0np0 (roceP2p1s0f0)"
    [named] = [text for text in slow if text.startswith(way)]
    assert re.search(r"reach (1\d|2\d)\.\d Gb/s, and 112 are expected", named)


RAILS = ("enp1s0f0np0", "enP2p1s0f0np0")


def test_lost_packets_on_both_rails_are_named_by_status_and_doctor(stack, lab):
    """5 %: a ping passes, TCP is slow, and the engine's RDMA has to send again."""
    lossy = [f"INPUT -i {rail} -m statistic --mode random --probability 0.05 -j DROP" for rail in RAILS]
    stacks.inside(lab, 1, " && ".join(f"iptables -I {rule}" for rule in lossy))
    try:
        with ThreadPoolExecutor(1) as pool:
            over = threading.Event()
            asked = pool.submit(busy, stack, over)
            try:  # a look tells what was lost since the one before, so chance decides which has enough
                stacks.until(lambda: loss_in_status(stack), 90, "status to name the loss")
            finally:
                over.set()
            assert set(asked.result()) == {200}
        document = doctor(stack, "--full")
    finally:
        stacks.inside(lab, 1, " ; ".join(f"iptables -D {rule}" for rule in lossy))
        complete(stack, 2)
        for node in (0, 1):
            zero = "for file in /sys/class/infiniband/*/ports/1/hw_counters/*; do echo 0 >$file; done"
            stacks.inside(lab, node, zero)
    warned = [one for one in document["checks"] if one["status"] == "WARN"]
    lost = [one["found"] for one in warned if LOSS.search(one["found"])]
    for rail in RAILS:
        [text] = [one for one in lost if one.startswith(f"spark-1 {rail} to spark-2 {rail}: ")]
        share = float(re.findall(r"([\d.]+) % of 1000 packets were lost", text)[0])
        assert 2 < share < 9
        assert not any(one.startswith(f"spark-2 {rail} to spark-1 {rail}: ") for one in lost)
    counted = [one for one in warned if one["check"] == "fabric.errors"]
    assert counted, json.dumps(document["checks"], indent=1)
    assert all("linked to" in one["found"] and "Push the cable in" in one["fix"] for one in counted)


def loss_in_status(stack: stacks.Stack) -> bool:
    warnings = json.loads(trtspark(stack, "status", "--json").stdout)["warnings"]
    return any("packets were out of sequence or sent again" in text for text in warnings)


def busy(stack: stacks.Stack, over: threading.Event) -> list[int]:
    """Keep the rails busy until it is over."""
    codes = [complete(stack, 100)]
    while not over.is_set():
        codes.append(complete(stack, 100))
    return codes


def complete(stack: stacks.Stack, tokens: int) -> int:
    """The status code of a completion that moves data over the rails."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": tokens}
    said = requests.post(f"{stack.output('endpoint')}/v1/chat/completions", json=body, timeout=120)
    return said.status_code


def test_without_perftest_the_package_is_named(stack, lab):
    stacks.inside(lab, 1, "mv /usr/bin/ib_write_bw /root")
    try:
        document = doctor(stack, "--full")
    finally:
        stacks.inside(lab, 1, "mv /root/ib_write_bw /usr/bin")
    host = lab["nodes"][1]["host"]
    assert told(document, "RDMA writes were not tested") == (
        f"RDMA writes were not tested: there is no ib_write_bw on {host}."
    )


def test_a_node_that_is_another_machine_now_is_not_trusted(stack, lab):
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxh"
    nodes = [{"host": one["host"], "user": "nvidia"} for one in lab["nodes"]]
    stack.set("nodes", [nodes[0], {**nodes[1], "hostKey": other}])
    document = doctor(stack, "--quick")
    stack.set("nodes", nodes)
    [named] = [one for one in wrong(document) if one["status"] == "FAIL"]
    assert (named["check"], named["node"]) == ("node.reached", lab["nodes"][1]["host"])
    assert "its host key is not the pinned one" in named["found"]
    assert any(
        one["status"] == "PASS" and one["node"] == lab["nodes"][0]["host"] for one in document["checks"]
    )


def test_the_report_has_everything_and_nothing_private(stack, lab, tmp_path):
    stack.pulumi("config", "set", "--secret", "hfToken", TOKEN)
    path = tmp_path / "report.tar.gz"
    done = trtspark(stack, "doctor", "--quick", "--report", str(path))
    stack.set("hfToken", None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.stat().st_mode & 0o077 == 0
    with tarfile.open(path) as archive:
        texts = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
    names = {name.partition("/")[2] for name in texts}
    hosts = [one["host"] for one in lab["nodes"]]
    assert {"doctor.json", "config.json", "outputs.json", "versions.json"} <= names
    assert {f"nodes/{host}/{what}.json" for host in hosts for what in ("probe", "live")} <= names
    assert any(name.startswith("logs/rank-0/") for name in names)
    serial = stacks.inside(lab, 0, "sed -n 's/^DGX_SERIAL_NUMBER=//p' /etc/dgx-release").strip().strip('"')
    join = stacks.inside(lab, 0, "docker swarm join-token -q worker").strip()
    uuid = stacks.inside(lab, 0, "cat /etc/lab/gpu").strip()
    key = Path(lab["identity"]).read_text().splitlines()[1]
    assert serial
    for private in (TOKEN, serial, join, uuid, key, "PRIVATE KEY"):
        assert not [name for name, text in texts.items() if private in text], private
    again = trtspark(stack, "doctor", "--quick", "--report", str(path))
    assert again.returncode == 1
    assert "is there already" in again.stderr


def marks(text: str) -> set[str]:
    """What the lines begin with: " [0] " and the like."""
    return {line[:5] for line in text.splitlines() if not line.startswith(("---", "     "))}


def test_the_logs_of_all_ranks_and_of_one(stack):
    whole = trtspark(stack, "logs", "--tail", "5000").stdout
    assert {" [0] ", " [1] "} <= marks(whole)
    assert "/health" not in whole
    # With a "!" before a warning of the engine's, such as that its log level is set already.
    alone = marks(trtspark(stack, "logs", "--rank", "1", "--tail", "5000").stdout)
    assert {mark.strip(" !") for mark in alone} == {"[1]"}


def test_following_survives_a_restart_and_ends_with_ctrl_c(stack, lab, tmp_path):
    path = tmp_path / "followed"
    with path.open("w") as out:
        child = subprocess.Popen(
            [TRTSPARK, "logs", "--follow", "--tail", "5"], cwd=stack.folder, stdout=out,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**stack.env, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip
        try:
            stacks.until(lambda: "---" in path.read_text() or "[0]" in path.read_text(), 60, "a first line")
            before = stacks.inside(lab, 0, "docker ps --quiet --filter label=trtspark.rank=0").strip()
            stacks.inside(lab, 0, f"docker kill {before}")
            stacks.until(
                lambda: "the container ended with exit code 137" in path.read_text(), 60, "the switch"
            )
            stacks.until(
                lambda: "Application startup complete" in path.read_text().partition("; now ")[2],
                90,
                "the new server's lines",
            )
            assert child.poll() is None
            os.killpg(child.pid, signal.SIGINT)
            assert child.wait(20) == 130
        finally:
            child.poll() is None and os.killpg(child.pid, signal.SIGKILL)
    text = path.read_text()
    assert "Traceback" not in text
    assert "Aborted" not in text


def test_a_model_that_could_not_start_is_explained_though_the_one_before_serves_again(stack):
    stack.set("model", "lab/out-of-memory")
    assert stack.up(ok=False).code != 0
    text = trtspark(stack, "logs", "--previous").stdout
    assert "^ out of memory: lower gpuMemoryFraction" in text
    assert "ended with exit code" in text
    found = wrong(doctor(stack, "--quick"))
    assert "lab/out-of-memory is configured." in " ".join(one["found"] for one in found)
    stack.set("model", MODEL)
