"""The look's ports: what Docker has not let go of yet is no other program's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from remote.node import probe

HELD = [["::", 7946]]


def info(state: str) -> dict[str, Any]:
    return {"rc": 0, "out": json.dumps({"Swarm": {"LocalNodeState": state}}), "err": ""}


@pytest.fixture
def held(monkeypatch):
    """How often a look finds the port in use; afterwards it is free."""
    left = {"tcp": 0, "udp": 0}

    def sockets(protocol: str, _state: str) -> list[list[Any]]:
        left[protocol] -= 1
        return HELD if left[protocol] >= 0 else []

    monkeypatch.setattr(probe, "_sockets", sockets)
    monkeypatch.setattr(probe, "POLL_S", 0)
    return left


def test_a_docker_that_has_just_left_a_swarm_is_waited_for(held):
    held.update(tcp=3, udp=5)
    assert probe._ports(info("inactive")) == {"tcp": [], "udp": []}


def test_another_programs_port_is_told_in_the_end(held, monkeypatch):
    monkeypatch.setattr(probe, "LEAVING_S", 0.05)
    held.update(tcp=10**9)
    assert probe._ports(info("inactive"))["tcp"] == HELD


@pytest.mark.parametrize("docker", [info("active"), info("pending"), {"rc": 1, "out": "", "err": "down"}])
def test_a_member_is_not_waited_for_nor_a_silent_docker(held, docker):
    held.update(tcp=1)
    assert probe._ports(docker)["tcp"] == HELD
