"""Each variant of a node shows what it says: eight different Sparks in one lab, and a ring of three."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.lab.sparks import Spark, fresh, lab, sparks_of

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-eight"
#: One node's variants a line; together every flag but those of Docker's settings (test_nodes.py).
MIXED = {
    "spark-1": (),
    "spark-2": ("docker-group", "sudo-nopasswd", "renamed-hcas", "cable-port1", "lang=de_DE", "mtu=9000"),
    "spark-3": ("no-cable", "dgx-release=never-updated", "sudo-denied", "toolkit-legacy"),
    "spark-4": (
        "one-half-address",
        "rate=100",
        "dgx-release=oem",
        "swarm-resource",
        "hostname=spark-ab12",
        "pcie=x2",
    ),
    "spark-5": ("link-local", "kernel=7.0.0-1019-nvidia", "kho-off", "ufw", "hostname=spark-ab12"),
    "spark-6": ("one-subnet", "kernel=7.0.0-1019-nvidia", "clock=+90", "gpus=3", "docker-group", "pcie=16GT"),
    "spark-7": ("no-address", "no-rdma-tools", "no-perftest", "ufw-readable", "sudo-nopasswd"),
    "spark-8": ("docker-group", "sudo-nopasswd", "live-restore", "dockerd-flag=--label=whose=mine"),
}


@pytest.fixture(scope="module")
def eight():
    words = [f"--variant={node}:{word}" for node, variants in MIXED.items() for word in variants]
    with fresh(NAME, "--nodes", "8", *words):
        yield sparks_of(NAME)


def devices(spark: Spark) -> dict[str, list[str]]:
    """RDMA device: its state, rate, interface and that one's addresses, from sysfs and ip alone."""
    shown = spark.run(
        "cd /sys/class/infiniband 2>/dev/null || exit 0; for d in *; do"
        " n=$(ls $d/device/net); read -r _ state <$d/ports/1/state; read -r rate _ <$d/ports/1/rate;"
        " set -- $(ip -4 -br addr show $n); shift 2; echo $d $state $rate $n $*; done"
    )
    return {line.split()[0]: line.split()[1:] for line in shown.splitlines()}


def test_a_fresh_spark(eight):
    spark = eight[0]
    assert spark.ssh("test -e /etc/docker/daemon.json").returncode == 1
    assert "permission denied" in spark.ssh("docker ps").stderr
    assert spark.ssh("sudo -n true").stderr == "sudo: a password is required\n"
    assert spark.run("echo nvidia | sudo -S -p '' id -u") == "0"
    assert spark.root("docker info --format '{{json .Runtimes}}'").count("nvidia") == 0
    names = spark.run("ls /etc/netplan").split()
    assert [re.sub("NM-[0-9a-f-]{36}", "NM-UUID", name) for name in names] == [
        "01-network-manager-all.yaml",
        "40-cx7.yaml",
        "90-NM-UUID.yaml",
    ]
    assert spark.run("stat -c %a /etc/netplan/*").split() == ["600"] * 3
    assert "permission denied" in spark.ssh("cat /etc/netplan/40-cx7.yaml").stderr.lower()
    assert spark.run("grep -c swap.img /proc/swaps; free -m | awk '/Swap/ { print $2 }'") == "1\n16383"
    assert spark.ssh("test -e /raid").returncode == 1
    assert spark.run("grep -c OTA_VERSION /etc/dgx-release") == "2"
    assert spark.root("docker run --help >/dev/null; prlimit --memlock --output HARD --noheadings"
                      " --pid $(pgrep -x dockerd)") == "8388608"  # fmt: skip


def test_names_addresses_and_rates_differ_from_node_to_node(eight):
    assert devices(eight[0]) == {
        "roceP2p1s0f0": ["ACTIVE", "200", "enP2p1s0f0np0", "192.168.101.11/24"],
        "roceP2p1s0f1": ["DOWN", "40", "enP2p1s0f1np1"],
        "rocep1s0f0": ["ACTIVE", "200", "enp1s0f0np0", "192.168.100.11/24"],
        "rocep1s0f1": ["DOWN", "40", "enp1s0f1np1"],
    }
    assert devices(eight[1]) == {
        "mlx5_0": ["DOWN", "40", "enp1s0f0np0"],
        "mlx5_1": ["ACTIVE", "200", "enp1s0f1np1", "192.168.100.12/24"],
        "mlx5_2": ["DOWN", "40", "enP2p1s0f0np0"],
        "mlx5_3": ["ACTIVE", "200", "enP2p1s0f1np1", "192.168.101.12/24"],
    }
    assert devices(eight[3])["rocep1s0f0"] == ["ACTIVE", "100", "enp1s0f0np0", "192.168.100.14/24"]
    assert devices(eight[3])["roceP2p1s0f0"] == ["ACTIVE", "100", "enP2p1s0f0np0"]
    assert devices(eight[5])["roceP2p1s0f0"][3] == "192.168.100.116/24"
    assert devices(eight[6])["rocep1s0f0"] == ["ACTIVE", "200", "enp1s0f0np0"]
    local = [words[3] for words in devices(eight[4]).values() if words[0] == "ACTIVE"]
    assert local == [f"{address}/16" for address in reversed(eight[4].fabric)]
    assert all(address.startswith("169.254.") for address in local)
    assert eight[1].run("cat /sys/class/net/enp1s0f1np1/mtu") == "9000"


def test_without_a_cable_there_is_no_connectx7(eight):
    spark = eight[2]
    assert devices(spark) == {}
    assert set(spark.run("ls /sys/class/net").split()) == {"lo", "docker0", "enP7s7"}
    assert spark.ssh("ls -d /dev/infiniband").returncode == 2
    assert spark.run("ibdev2netdev") == ""
    refused = lab("link", "down", "spark-3", "half0", name=NAME, ok=False)
    assert "spark-3 has no cable half0, only mgmt" in refused.stderr


def test_pcie_links_and_perftest(eight):
    shown = "cd /sys/class/infiniband/$d/device; cat current_link_width current_link_speed max_link_width"
    second = f"d=roceP2p1s0f0; {shown}"
    assert eight[0].run(second) == "4\n32.0 GT/s PCIe\n4"
    assert eight[3].run(second) == "2\n32.0 GT/s PCIe\n4"
    assert eight[5].run(second) == "4\n16.0 GT/s PCIe\n4"
    assert eight[5].run(f"d=rocep1s0f0; {shown}") == "4\n32.0 GT/s PCIe\n4"
    assert eight[0].run("ib_write_bw --version") == "Version: 6.06"
    assert eight[6].ssh("ib_write_bw --version").returncode == 127


def test_mixed_nodes_reach_each_other(eight):
    """By both halves, whichever cage the cable is in; and each half answers for itself only."""
    for target in ("192.168.100.12", "192.168.101.12", "192.168.100.14", "192.168.100.116"):
        eight[0].run(f"ping -q -c 1 -W 2 {target}")
    lab("link", "down", "spark-2", "half1", name=NAME)
    assert eight[0].ssh("ping -q -c 1 -W 1 192.168.101.12").returncode == 1
    eight[0].run("ping -q -c 1 -W 2 192.168.100.12")
    lab("link", "up", "spark-2", "half1", name=NAME)


def test_what_the_machine_says_of_itself(eight):
    assert "DGX_OTA" not in eight[2].run("cat /etc/dgx-release")
    assert "DGX_PLATFORM=HP ZGX Nano G1n AI Station" in eight[3].run("cat /etc/dgx-release")
    assert eight[4].run("cat /proc/sys/kernel/osrelease; grep -o kho=off /proc/cmdline").split() == [
        "7.0.0-1019-nvidia",
        "kho=off",
    ]
    assert eight[5].run("grep -c kho=off /proc/cmdline || cat /proc/sys/kernel/osrelease").split() == [
        "0",
        "7.0.0-1019-nvidia",
    ]
    assert {spark.run("hostname") for spark in eight[3:5]} == {"spark-ab12"}
    assert len(eight[5].run("nvidia-smi -L").splitlines()) == 3
    assert eight[5].run("nvidia-smi --query-gpu=index --format=csv,noheader").split() == ["0", "1", "2"]


def test_german_unless_told_otherwise(eight):
    assert "Datei oder Verzeichnis nicht gefunden" in eight[1].ssh("ls /nowhere").stderr
    assert "No such file or directory" in eight[1].ssh("LC_ALL=C ls /nowhere").stderr


def test_a_clock_that_is_off(eight):
    ahead = float(eight[5].run("python3 -c 'import time; print(time.time())'")) - time.time()
    assert 80 < ahead < 120
    assert abs(float(eight[0].run("date +%s")) - time.time()) < 20


def test_sudo_denied(eight):
    denied = eight[2].ssh("echo nvidia | sudo -S -p '' true")
    assert (denied.returncode, "not in the sudoers file" in denied.stderr) == (1, True)


def test_the_firewall_lets_ssh_in_only(eight):
    for spark in (eight[4], eight[6]):
        spark.root("nohup python3 -m http.server 2377 >/dev/null 2>&1 & sleep 0.5")
        spark.run("curl -sf -o /dev/null http://127.0.0.1:2377")
        assert eight[0].ssh(f"curl -sf -m 2 http://{spark.host}:2377").returncode == 28
    eight[0].root("nohup python3 -m http.server 2377 >/dev/null 2>&1 & sleep 0.5")
    eight[1].run(f"curl -sf -m 5 -o /dev/null http://{eight[0].host}:2377")
    assert eight[4].ssh("cat /etc/ufw/user.rules").returncode == 1
    assert "dport 22" in eight[6].run("cat /etc/ufw/user.rules")
    assert "Status: active" in eight[4].root("ufw status")
    assert "Status: inactive" in eight[0].root("ufw status")


def test_settings_of_docker_and_the_toolkit(eight):
    assert eight[7].run("docker info --format '{{.LiveRestoreEnabled}} {{.Labels}}'") == "true [whose=mine]"
    refused = eight[7].ssh("docker swarm init --advertise-addr 192.168.100.18")
    assert "incompatible with swarm" in refused.stderr.replace("--live-restore daemon configuration is ", "")
    config = "grep -E '^#?swarm-resource|^mode' /etc/nvidia-container-runtime/config.toml"
    assert eight[3].run(config).splitlines()[0] == 'swarm-resource = "DOCKER_RESOURCE_GPU"'
    assert eight[2].run(config).splitlines()[1] == 'mode = "legacy"'


def test_netplan_apply_does_it_and_drops_the_management_address(eight):
    spark = eight[6]
    text = "network: {version: 2, ethernets: {enp1s0f0np0: {addresses: [192.168.77.17/24], mtu: 9000}}}"
    write = f"echo '{text}' | sudo tee /etc/netplan/40-cx7.yaml >/dev/null; sudo chmod 600 /etc/netplan/*"
    spark.run(f"{write}; sudo netplan generate")
    watch = "(for i in $(seq 40); do ip -4 -br addr show enP7s7 | wc -l; sleep 0.05; done) >seen"
    spark.run(f"{watch} & sudo netplan apply; wait")
    assert set(spark.run("cat seen").split()) == {"0", "1"}
    assert devices(spark)["rocep1s0f0"][3:] == ["192.168.77.17/24"]
    assert spark.run("cat /sys/class/net/enp1s0f0np0/mtu; ip route | grep -c ^default") == "9000\n1"
    spark.run("echo 'network: {version: 2, ethernets: {enP7s7: {addresses: [10.1.1.1]}}}' >bad.yaml")
    bad = spark.ssh("sudo cp bad.yaml /etc/netplan/50-bad.yaml; sudo netplan generate")
    assert (bad.returncode, "missing /prefixlength" in bad.stderr) == (1, True)
    assert spark.ssh("sudo netplan apply").returncode == 78
    spark.run("sudo rm /etc/netplan/50-bad.yaml")
    lab("power", "off", "spark-7", name=NAME)
    lab("power", "on", "spark-7", name=NAME)
    assert devices(spark)["rocep1s0f0"][3:] == ["192.168.77.17/24"], "what netplan says outlives a power cut"
    tried = spark.ssh("sudo rm /etc/netplan/40-cx7.yaml; sudo netplan try --timeout 1")
    assert "Reverting." in tried.stdout
    spark.run("sudo netplan apply")
    assert devices(spark)["rocep1s0f0"][3:] == []


def test_a_ring_of_three():
    name = "t-ring"
    try:
        refused = lab("up", "--fabric", "ring", name=name, ok=False)
        assert "--fabric ring is for 3 nodes" in refused.stderr
        lab("up", "--nodes", "3", "--fabric", "ring", name=name)
        sparks = sparks_of(name)
        for spark in sparks:
            found = devices(spark)
            assert {words[0] for words in found.values()} == {"ACTIVE"}
            assert len({words[3] for words in found.values()}) == 4
        neighbours = [
            ("0.2", "1.2", "2.2", "3.2"),
            ("0.1", "1.1", "4.2", "5.2"),
            ("2.1", "3.1", "4.1", "5.1"),
        ]
        for spark, ends in zip(sparks, neighbours, strict=True):
            spark.run(" && ".join(f"ping -q -c 1 -W 2 192.168.{end}" for end in ends))
        lab("link", "down", "spark-1", "half2", name=name)
        assert sparks[0].ssh("ping -q -c 1 -W 1 192.168.2.2").returncode == 1
        sparks[0].run("ping -q -c 1 -W 2 192.168.3.2")
        links = json.loads(lab("status", "--json", name=name).stdout)["nodes"][0]["links"]
        assert links == {"mgmt": "up", "half0": "up", "half1": "up", "half2": "down", "half3": "up"}
    finally:
        lab("down", name=name)
