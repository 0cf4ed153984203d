"""The loss of a link, really measured: over a veth pair between two network namespaces that drops packets."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import link_report
from cluster.link_report import Figures
from remote import node
from remote.node import link_loss

HERE, THERE = "10.99.7.1", "10.99.7.2"
NAMES = [f"loss-{os.getpid()}-{end}" for end in (0, 1)]


def inside(name: str, *words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", name, *words], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def link() -> Iterator[None]:
    if os.geteuid() != 0 or not shutil.which("iptables"):
        pytest.skip("network namespaces and iptables need root")
    try:
        for name in NAMES:
            subprocess.run(["ip", "netns", "add", name], check=True)
        pair = ["ip", "-n", NAMES[0], "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
        subprocess.run([*pair, "netns", NAMES[1]], check=True)
        for name, device, address in zip(NAMES, ("v0", "v1"), (HERE, THERE), strict=True):
            inside(name, "ip", "addr", "add", f"{address}/24", "dev", device)
            inside(name, "ip", "link", "set", device, "mtu", "9000", "up")
        yield
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def program(name: str, **args: Any) -> Any:
    command = ["python3", "-I", "-S", "-", json.dumps({"link_test": args})]
    answer = inside(name, *command, stdin=node.program(link_test="main"))
    return node.answer(answer)["link_test"]


def measured(*rule: str) -> dict[str, Any]:
    """One direction, while the receiver has a rule of iptables."""
    if rule:
        inside(NAMES[1], "iptables", "-A", "INPUT", *rule, "-j", "DROP")
    try:
        ear = program(NAMES[1], action="listen", addresses=[THERE], connections=2, deadline_s=40)
        found: dict[str, Any] = program(
            NAMES[0],
            **{"action": "send", "from": HERE, "to": THERE, "port": ear["ports"][THERE]},
            **{"udp": ear["udp"][THERE], "token": ear["token"], "seconds": 0.3, "streams": 2},
        )
    finally:
        inside(NAMES[1], "iptables", "-F")
    return found


def warned(rate: dict[str, Any]) -> list[str]:
    """Of that direction; the loopback is so slow that only loss can be the cause."""
    end = {"node": "a", "netdev": "v0", "address": HERE, "mtu": 9000, "rate": 200}
    wire = {"ranks": [0, 1], "subnet": "10.99.7.0/24", "ends": [end, {**end, "node": "b", "netdev": "v1"}]}
    ping = {"received": 3, "said": "", "ms": 0.1}
    return link_report.warnings(wire, Figures([ping, ping], [rate, {"gbps": 0.1}], 0.1))


def test_a_link_without_loss_counts_none(link):
    found = measured()
    assert found["loss"] == {"sent": link_loss.DATAGRAMS, "arrived": link_loss.DATAGRAMS}
    assert found["segments"] > 0
    assert warned(found) == []


def test_five_per_cent_are_counted_and_named(link):
    found = measured("-m", "statistic", "--mode", "random", "--probability", "0.05")
    lost = found["loss"]["sent"] - found["loss"]["arrived"]
    assert 20 <= lost <= 90  # 50, give or take six standard deviations
    [text] = warned(found)
    assert text.startswith(f"a v0 to b v1: {lost / 10:.1f} % of 1000 packets were lost, TCP sent ")


def test_tcp_tells_the_loss_where_datagrams_are_filtered(link):
    """Every twentieth of TCP's packets is lost, and no datagram is answered."""
    inside(NAMES[0], "iptables", "-A", "INPUT", "-p", "udp", "-j", "DROP")
    try:
        found = measured("-p", "tcp", "-m", "statistic", "--mode", "nth", "--every", "20", "--packet", "15")
    finally:
        inside(NAMES[0], "iptables", "-F")
    assert found["loss"]["arrived"] is None
    assert found["again"] > link_report.SENT_AGAIN_WORTH_A_WARNING * found["segments"]
    [text] = warned(found)
    assert text.startswith("a v0 to b v1: TCP sent ")


def receiver(token: bytes) -> tuple[str, int]:
    """One on loopback that lasts as long as the tests."""
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind(("127.0.0.1", 0))
    threading.Thread(target=link_loss.answer, args=(ear, token), daemon=True).start()
    found: tuple[str, int] = ear.getsockname()
    return found


def test_strangers_get_no_answer_and_a_datagram_counts_once():
    token = b"t" * 32
    to = receiver(token)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(to)
        sender.settimeout(0.2)
        for data in (b"", b"x" * link_loss.SIZE, token, token + struct.pack("!I", 1)):
            sender.send(data)
            with pytest.raises(TimeoutError):
                sender.recv(100)
        good = (token + struct.pack("!I", 7)).ljust(link_loss.SIZE, b"-")
        for _ in range(2):
            sender.send(good)
            assert link_loss.ANSWER.unpack(sender.recv(100)) == (7, 1)
    assert link_loss.probe("127.0.0.1", to, token) == {"sent": 1000, "arrived": 1000}


def test_where_nobody_answers_it_ends_soon_and_claims_nothing():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        found = link_loss.probe("127.0.0.1", silent.getsockname(), b"t" * 32)
    assert found == {"sent": link_loss.SILENT_WINDOWS * link_loss.WINDOW, "arrived": None}
