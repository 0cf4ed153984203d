"""`fabric: configure` on simulated Sparks whose cables have no addresses: shapes, guard, drift, give-back.

Sudo is allowed for the lines of docs/preparing.md only: what they lack would fail here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from cluster import fabric
from cluster.config import Settings
from cluster.errors import NodeError, NotPrepared
from components.spark_node import SparkNodeArgs, fabric_props
from remote import fabric_addresses
from remote.logins import connections
from remote.preflight import Examination, examine
from tests.lab import stack as stacks
from tests.lab.sparks import fresh

pytestmark = [pytest.mark.lab, pytest.mark.long]
STACK = "lab"
FILE = "/etc/netplan/40-trtspark-fabric.yaml"
#: Everything that a change of the network could leave behind. Docker moves its own bridges at a restart.
NETWORK = """
ls -A /etc/netplan /run/netplan 2>&1; md5sum /etc/netplan/*
ls -A --ignore=.sudo_as_admin_successful /home/nvidia /var/lib/trtspark 2>&1
ip -j addr | python3 -c 'import json, sys
for l in json.load(sys.stdin):
    found = [a["local"] for a in l["addr_info"] if a["family"] == "inet"]
    l["ifname"].startswith("en") and print(l["ifname"], l["mtu"], found)'
"""


@contextmanager
def sparks(name: str, *words: str) -> Iterator[dict[str, Any]]:
    """A lab of its own whose nodes allow sudo by the documents' lines; its lab.json."""
    with fresh(name, "--variant", "docker-group", *words) as lab:
        for index in range(len(lab["nodes"])):
            rules = f"cat > /etc/sudoers.d/trtspark <<'X'\n{sudoers()}\nX\nchmod 440 /etc/sudoers.d/trtspark"
            stacks.inside(lab, index, f"{rules}\nvisudo -c -q")
        yield lab


def sudoers() -> str:
    blocks = (stacks.ROOT / "docs/preparing.md").read_text("utf-8").split("```sudoers")[1:]
    return "\n".join(line.strip() for b in blocks for line in b.partition("```")[0].splitlines())


def look(lab: dict[str, Any], **changes: Any) -> tuple[Examination, list[dict[str, Any]]]:
    """What a run would find and decide, and the resources' inputs."""
    raw = {
        "nodes": [{"host": node["host"]} for node in lab["nodes"]],
        "model": "openai/gpt-oss-20b",
        "sshKey": lab["identity"],
        "knownHosts": lab["known_hosts"],
        "fabric": "configure",
        "running": False,  # no model is looked for
        **changes,
    }
    settings = Settings.model_validate(raw)
    logins = connections(settings)
    found = examine(STACK, settings, logins)
    if found.errors:
        raise found.errors[0]
    parts = zip(logins, found.facts, found.fabric.nodes, strict=True)
    args = [SparkNodeArgs(login, facts, None, stack=STACK, fabric=part) for login, facts, part in parts]
    return found, [fabric_props(one) for one in args]


def apply_all(props: list[dict[str, Any]]) -> None:
    """All nodes side by side, as a run does."""
    errors: list[Exception] = []

    def one(each: dict[str, Any]) -> None:
        try:
            fabric_addresses.apply(each, print)
        except NodeError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(each,)) for each in props if each["addresses"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def ping(lab: dict[str, Any], node: int, address: str) -> None:
    """With the largest packet that fits into 9000 bytes, unfragmented."""
    stacks.inside(lab, node, f"ping -q -c 1 -W 2 -M do -s 8972 {address}")


def reach_each_other(lab: dict[str, Any], props: list[dict[str, Any]]) -> int:
    """Ping in every shared subnet, both ways; how many pairs of addresses share one."""
    import ipaddress

    count = 0
    for one, other in combinations(range(len(props)), 2):
        for mine in props[one]["addresses"].values():
            for theirs in props[other]["addresses"].values():
                if ipaddress.ip_interface(mine).network == ipaddress.ip_interface(theirs).network:
                    ping(lab, one, theirs.split("/")[0])
                    ping(lab, other, mine.split("/")[0])
                    count += 1
    return count


def network(lab: dict[str, Any]) -> list[str]:
    return [stacks.inside(lab, index, NETWORK) for index in range(len(lab["nodes"]))]


@pytest.mark.parametrize(
    ("words", "subnets", "meetings"),
    [
        (["--nodes", "2", "--variant", "no-address", "--variant", "spark-2:cable-port1"], 2, 2),
        (["--nodes", "2", "--variant", "link-local"], 2, 2),
        (["--nodes", "3", "--fabric", "ring", "--variant", "no-address"], 6, 6),
        (["--nodes", "3", "--fabric", "switch", "--variant", "no-address"], 2, 6),
    ],
    ids=["pair in different ports", "link-local", "ring", "switch"],
)
def test_shapes(words, subnets, meetings):
    with sparks("t-fabric", *words) as lab:
        before = network(lab)
        found, props = look(lab)
        assert network(lab) == before, "looking changes nothing"
        apply_all(props)
        assert len({a.rpartition(".")[0] for each in props for a in each["addresses"].values()}) == subnets
        assert reach_each_other(lab, props) == meetings
        again, same = look(lab)
        assert same == props
        assert [facts.hcas for facts in again.facts] == [facts.hcas for facts in found.facts]
        assert fabric.plan(again.facts, [[] for _ in props]) == fabric.plan(found.facts, [[] for _ in props])
        for each in props:
            fabric_addresses.remove(each, print)
        assert network(lab) == before


@pytest.mark.parametrize("variant", [[], ["--variant", "one-subnet"]], ids=["two subnets", "one subnet"])
def test_a_working_configuration_is_left_alone(variant):
    with sparks("t-fabric", "--nodes", "2", *variant) as lab:
        before = network(lab)
        found, props = look(lab)
        assert [each["addresses"] for each in props] == [{}, {}]
        assert found.fabric.notes == ("fabric: all nodes have working addresses; nothing is written.",)
        assert network(lab) == before


@pytest.fixture(scope="module")
def pair() -> Iterator[dict[str, Any]]:
    with sparks("t-fabric-pair", "--nodes", "2", "--variant", "no-address") as lab:
        yield lab


def test_the_old_network_comes_back_when_the_management_is_lost(pair):
    before = network(pair)
    _, props = look(pair)
    caught: list[NodeError] = []

    def up() -> None:
        try:
            fabric_addresses.apply(props[1], print, keep_s=8)
        except NodeError as error:
            caught.append(error)

    running = threading.Thread(target=up)
    running.start()
    status = "/home/nvidia/.trtspark/fabric-guard/status"
    stacks.until(lambda: "applying" in stacks.inside(pair, 1, f"cat {status} 2>&1 || true"), 20, "the guard")
    stacks.lab_command(pair, "link", "down", "spark-2", "mgmt")
    stacks.until(lambda: "waiting" in stacks.inside(pair, 1, f"cat {status}"), 20, "netplan apply")
    assert "172.16." in stacks.inside(pair, 1, "ip -br -4 addr"), "it is applied, and nobody can tell"
    stacks.until(lambda: "restored" in stacks.inside(pair, 1, f"cat {status}"), 60, "the old network")
    assert "172.16." not in stacks.inside(pair, 1, "ip -br -4 addr")
    stacks.lab_command(pair, "link", "up", "spark-2", "mgmt")
    running.join()
    assert "not kept (nobody confirmed it); its network is as it was" in str(caught[0])
    assert network(pair) == before


def test_a_power_cut_before_the_confirmation_takes_it_away(pair):
    before = network(pair)
    _, props = look(pair)
    login = connections(
        Settings.model_validate(
            {
                "nodes": [{"host": pair["nodes"][1]["host"]}],
                "model": "a/b",
                "sshKey": pair["identity"],
                "knownHosts": pair["known_hosts"],
            }
        )
    )[0]
    from remote import node
    from remote.ssh import SshShell

    asked = {**props[1], "action": "begin", "mtu": 9000, "keep_s": 600, "wait_s": 5}
    begun = SshShell(login).run(
        node.command({"fabric_config": {key: asked[key] for key in asked if key != "connection"}}),
        stdin=node.program(fabric_config="main"),
    )
    assert begun.code == 0, begun.err
    stacks.until(lambda: "172.16." in stacks.inside(pair, 1, "ip -br -4 addr"), 20, "netplan apply")
    time.sleep(2)
    stacks.lab_command(pair, "power", "off", "spark-2")
    stacks.lab_command(pair, "power", "on", "spark-2")
    assert "172.16." not in stacks.inside(pair, 1, "ip -br -4 addr")
    assert FILE not in stacks.inside(pair, 1, "ls /etc/netplan/*")
    SshShell(login).close()
    _, again = look(pair)
    assert again[1]["addresses"] == props[1]["addresses"], "and the next run does the same"
    apply_all(again)
    for each in again:
        fabric_addresses.remove(each, print)
    assert network(pair) == before


def test_an_owners_file_is_refused_with_its_name(pair):
    own = "network: {version: 2, ethernets: {enp1s0f0np0: {addresses: [192.168.9.1/24], optional: true}}}"
    stacks.inside(pair, 0, f"umask 077; echo '{own}' > /etc/netplan/50-mine.yaml")
    try:
        with pytest.raises(NotPrepared, match=r"yours \(192\.168\.9\.1/24.*50-mine\.yaml"):
            look(pair)
    finally:
        stacks.inside(pair, 0, "rm /etc/netplan/50-mine.yaml")


def test_deployed_repaired_and_given_back(pair, tmp_path: Path):
    stack = stacks.create(tmp_path / "project", pair)
    stack.set("fabric", "configure")
    before, leavings = network(pair), stacks.leavings(pair)
    preview = stack.pulumi("preview", "--diff").text
    assert "172.16.101.12/24" in preview
    assert "link-local: []" in preview
    assert network(pair) == before
    stack.up()
    assert all("NET/IB" in line for line in stack.output("transport")), stack.output("transport")
    assert set(stack.up().counts) == {"unchanged"}
    stacks.inside(pair, 1, f"rm {FILE}")
    assert "fabric-addresses" in stack.pulumi("refresh", "--yes", "--skip-preview").text
    assert stack.up().counts["updated"] == 1
    stacks.inside(pair, 0, f"sed -i s/9000/1500/ {FILE}; netplan apply")
    assert stack.up().counts["updated"] == 1, "without a refresh, too"
    assert "mtu 9000" in stacks.inside(pair, 0, "ip link show enp1s0f0np0")
    assert set(stack.up().counts) == {"unchanged"}
    stack.destroy()
    assert network(pair) == before
    stacks.same(pair, leavings)
