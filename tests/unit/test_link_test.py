"""The quick test of the cables: really run on this machine, over loopback addresses that stand for halves."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from typing import Any

import pytest

from cluster import fabric, link_report
from cluster.errors import NodeError
from cluster.link_report import Figures
from remote import fabric_test, node
from remote.node import link_test
from remote.ssh import Result
from tests import samples


class Here:
    """A shell that runs on this machine, and remembers what was on its command line."""

    commands: list[str]

    def __init__(self) -> None:
        self.commands = []

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        self.commands.append(command)
        done = subprocess.run(
            ["bash", "-c", command], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        return


def wire(number: int, first: int = 0, second: int = 1, **changes: Any) -> dict[str, Any]:
    """Half `number` between two nodes that are both this machine."""
    ends = [
        {
            "node": f"spark-{rank + 1}",
            "address": f"127.0.{number}.{rank + 1}",
            "netdev": "lo",
            "mtu": 1500,
            "rate": 200,
        }
        | changes
        for rank in (first, second)
    ]
    return {"ranks": [first, second], "subnet": f"127.0.{number}.0/24", "ends": ends}


def run(wires: list[dict[str, Any]], count: int = 2) -> tuple[list[str], list[str], Here]:
    here = Here()
    props = {"wires": wires, "connections": [one.as_props() for one in samples.connections(count)]}
    lines, warnings = fabric_test.measure(props, lambda _connection: here)
    return lines, warnings, here


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(fabric_test, "SECONDS", 0.1)
    monkeypatch.setattr(fabric_test, "LOOPBACK_SECONDS", 0.1)


def test_both_halves_of_a_pair():
    lines, _, here = run([wire(1), wire(2)])
    assert len(lines) == 2
    assert "spark-1 lo - spark-2 lo (127.0.1.0/24): MTU 1500" in lines[0]
    speeds = re.findall(r"[\d.]+", lines[0].partition("TCP")[2].partition("(")[0])
    assert len(speeds) == 2
    assert "loss 0.0 and 0.0 %" in lines[0]
    assert all(float(speed) > 0 for speed in speeds)
    assert not any("token" in command for command in here.commands)


def test_three_nodes_in_a_ring():
    lines, _, _ = run([wire(1, 0, 1), wire(2, 1, 2), wire(3, 0, 2)], 3)
    assert len(lines) == 3


def test_a_half_that_is_not_there_is_a_warning_with_what_to_do():
    gone = wire(1)
    gone["ends"][1]["address"] = "192.0.2.9"
    with pytest.raises(NodeError, match=r"cannot listen at 192\.0\.2\.9"):
        run([gone])


def receiver(connections: int = 1, deadline: int = 5) -> dict[str, Any]:
    script = node.program(link_test="main")
    args = {
        "action": "listen",
        "addresses": ["127.0.0.1"],
        "connections": connections,
        "deadline_s": deadline,
    }
    answer = Here().run(node.command({"link_test": args}), script)
    found: dict[str, Any] = node.answer(answer.out)["link_test"]
    return found


def test_nobody_without_the_token_is_served():
    ear = receiver()
    to = ("127.0.0.1", ear["ports"]["127.0.0.1"])
    for data in (b"x" * 32, b"x"):
        with socket.create_connection(to, 2) as stranger:
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(10) == b""
    own = {"from": "127.0.0.1", "to": to[0], "port": to[1], "token": ear["token"], "streams": 1}
    assert link_test.send({**own, "seconds": 0.05})["gbps"] > 0


def test_the_port_is_closed_when_all_are_served():
    ear = receiver()
    to = ("127.0.0.1", ear["ports"]["127.0.0.1"])
    own = {"from": "127.0.0.1", "to": to[0], "port": to[1], "token": ear["token"], "streams": 1}
    link_test.send({**own, "seconds": 0.05})
    deadline = link_test.time.monotonic() + 5
    while link_test.time.monotonic() < deadline:
        try:
            socket.create_connection(to, 1).close()
        except OSError:
            return
        link_test.time.sleep(0.05)
    pytest.fail("the port is still open")


def test_the_port_is_closed_at_the_deadline_whatever_happens():
    ear = receiver(connections=3, deadline=1)
    to = ("127.0.0.1", ear["ports"]["127.0.0.1"])
    deadline = link_test.time.monotonic() + 20
    while link_test.time.monotonic() < deadline:
        try:
            socket.create_connection(to, 1).close()
        except OSError:
            return
        link_test.time.sleep(0.2)
    pytest.fail("the port is still open")


def test_a_connection_that_is_refused_is_said():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    own = {"from": "127.0.0.1", "to": "127.0.0.1", "port": port, "token": "x" * 32, "streams": 2}
    assert link_test.send({**own, "seconds": 0.1}) == {"gbps": 0.0, "said": "Connection refused"}


class Pinged:
    """A finished ping."""

    def __init__(self, text: str) -> None:
        self.text = text

    def communicate(self, timeout: float) -> tuple[str, None]:
        return self.text, None


GOOD = """PING 192.168.100.12 (192.168.100.12) from 192.168.100.11 : 1472(1500) bytes of data.

--- 192.168.100.12 ping statistics ---
3 packets transmitted, 3 received, 0% packet loss, time 402ms
rtt min/avg/max/mdev = 0.050/0.061/0.075/0.010 ms
"""
TOO_LONG = """PING 192.168.100.12 (192.168.100.12) from 192.168.100.11 : 8972(9000) bytes of data.
ping: local error: message too long, mtu=1500
--- 192.168.100.12 ping statistics ---
3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 403ms
"""


@pytest.mark.parametrize(
    ("text", "received", "ms", "said"),
    [
        (GOOD, 3, 0.061, ""),
        (TOO_LONG, 0, None, "ping: local error: message too long, mtu=1500"),
        ("ping: connect: Network is unreachable\n", 0, None, "ping: connect: Network is unreachable"),
    ],
)
def test_what_ping_says(text, received, ms, said):
    found = link_test.ping_result({"from": "a", "to": "b"}, Pinged(text))
    assert (found["received"], found["ms"], found["said"]) == (received, ms, said)


def test_without_ping_nothing_is_claimed():
    found = link_test.ping_result({"from": "a", "to": "b"}, None)
    assert found["received"] is None
    figures = Figures([found, found], [{"gbps": 90.0}] * 2, 120.0)
    assert link_report.warnings(wire(1), figures) == []
    assert "not tested (no ping)" in link_report.line(wire(1), figures)


def figures(gbps: float = 90.0, loopback: float = 120.0, received: int = 3, said: str = "") -> Figures:
    ping = {"received": received, "said": "", "ms": 0.1}
    return Figures([ping, ping], [{"gbps": gbps, **({"said": said} if said else {})}] * 2, loopback)


@pytest.mark.parametrize(
    ("rate", "gbps", "loopback", "warned"),
    [
        (200, 90.0, 120.0, False),
        (200, 51.0, 120.0, False),  # half of what PCIe allows
        (200, 49.0, 120.0, True),
        (100, 49.0, 120.0, True),
        (40, 21.0, 120.0, False),
        (200, 8.0, 12.0, False),  # slow machines, like the simulated pair's
        (200, 5.0, 12.0, True),
    ],
)
def test_slow_is_under_half_of_what_link_pcie_and_machines_allow(rate, gbps, loopback, warned):
    found = link_report.warnings(wire(1, rate=rate), figures(gbps, loopback))
    assert len(found) == (2 if warned else 0)


def test_packets_that_do_not_arrive():
    [there, back] = link_report.warnings(wire(1, mtu=9000.0), figures(received=0))
    assert "packets of its MTU 9000 do not arrive" in there
    assert "`ping -M do -s 8972 127.0.1.1`" in back


def test_a_connection_that_fails_is_laid_at_the_firewalls_door():
    [there, _] = link_report.warnings(wire(1), figures(0.0, said="timed out"))
    assert "no TCP connection (timed out)" in there
    assert "ufw status" in there


def rated(
    gbps: float = 15.0, lost: int | None = 0, again: int = 0, segments: int = 100_000
) -> dict[str, Any]:
    arrived = None if lost is None else 1000 - lost
    loss = {"sent": 1000, "arrived": arrived}
    return {"gbps": gbps, "again": again, "segments": segments, "loss": loss}


#: What the program gave on a link of this lab: without loss, with 5 % and with 0.5 % (iptables' statistic).
MEASURED = [
    (rated(15.2, 0, 60, 107_371), ""),
    (rated(16.2, None, 244, 117_325), ""),  # UDP is filtered
    (rated(1.0, 53, 1057, 20_815), "5.3 % of 1000 packets were lost, TCP sent 5.1 % of its segments again"),
    (rated(24.5, 3, 831, 174_623), "0.3 % of 1000 packets were lost"),
    (rated(16.9, 2, 71, 121_542), ""),
    (rated(4.0, None, 1206, 19_470), "TCP sent 6.2 % of its segments again, it reached 4.0 Gb/s. Push"),
    (rated(8.0, 0, 9, 40), ""),
]


@pytest.mark.parametrize(("rate", "said"), MEASURED)
def test_loss_is_named_with_both_ends_its_share_and_what_to_do(rate, said):
    ping = {"received": 3, "said": "", "ms": 0.1}
    found = link_report.warnings(wire(1), Figures([ping, ping], [rated(), rate], 15.0))
    if not said:
        assert found == []
        return
    [one] = found
    assert one.startswith("spark-2 lo to spark-1 lo: ")
    assert said in one
    assert "Push the cable in until it clicks at both ends" in one
    assert "`ethtool -S lo` on spark-1" in one


def test_the_line_has_the_loss_of_both_directions():
    ping = {"received": 3, "said": "", "ms": 0.1}
    text = link_report.line(wire(1), Figures([ping, ping], [rated(lost=53), rated(lost=None)], 15.0))
    assert "TCP 15.0 and 15.0 Gb/s" in text
    assert text.endswith(", loss 5.3 and unknown %")


@pytest.mark.parametrize("loopback", [0.0, 0.04, 15.0])
def test_a_rail_that_moves_nothing_is_never_fine(loopback):
    """Nothing could be expected of machines whose loopback stands still, so 0.0 Gb/s passed."""
    found = link_report.warnings(wire(1), figures(0.0, loopback))
    assert len(found) == 2
    assert "spark-1 lo to spark-2 lo: the rail moves nothing, 0.0 Gb/s over TCP. Check the cable" in found[0]


def test_wires_of_a_plan_are_plain_data():
    nodes = samples.facts(2)
    found = link_report.wires(fabric.plan(nodes, [[], []]), nodes)
    assert json.loads(json.dumps(found)) == found
    assert [one["subnet"] for one in found] == ["192.168.100.0/24", "192.168.101.0/24"]
    assert found[0]["ends"][1] == {
        "node": "spark-2",
        "address": "192.168.100.12",
        "netdev": "enp1s0f0np0",
        "mtu": 9000,
        "rate": 200,
        "hca": "rocep1s0f0",
        "port": 0,
        "pcie": 126,
    }


@pytest.mark.parametrize("count", range(2, 9))
def test_rounds_share_no_node_and_miss_no_pair(count):
    nodes = samples.facts(count)
    wires = link_report.wires(fabric.plan(nodes, [[] for _ in nodes]), nodes)
    rounds = link_report.rounds(wires)
    for pairs in rounds:
        ranks = [rank for mine in pairs for rank in mine[0]["ranks"]]
        assert len(ranks) == len(set(ranks))
    assert sum(len(mine) for pairs in rounds for mine in pairs) == len(wires)
    assert len(rounds) <= 3
