"""The carried ssh client's provider over a shell in memory."""

from __future__ import annotations

import json

import pytest

from cluster.errors import TrtSparkError
from dynamic_providers.ssh_client import SshClientProvider
from remote import ssh_client
from remote.ssh import Result
from tests import samples

PROPS = {
    "folder": ".trtspark/ssh-dgx",
    "connection": samples.connections(1)[0].as_props(),
    "client": "current",
}


@pytest.fixture
def node(monkeypatch):
    class Node:
        state = "current"
        error = ""
        asked: list[str] = []  # noqa: RUF012 (one class per test)

        def __init__(self, _connection):
            pass

        def run(self, command, stdin="", timeout=60):
            Node.asked.append(command)
            if Node.error:
                return Result(1, "", Node.error)
            return Result(0, json.dumps({"ssh_client": {"state": Node.state}}), "")

    monkeypatch.setattr(ssh_client.run, "__defaults__", (Node,))
    return Node


def test_what_was_taken_away_is_drift_and_brought_again(node):
    provider = SshClientProvider()
    assert provider.create(dict(PROPS)).outs == PROPS
    node.state = "missing"
    read = provider.read("id", dict(PROPS))
    assert read.inputs == {**PROPS, "client": "missing"}
    assert provider.diff("id", read.outs, PROPS).changes
    node.state = "current"
    assert provider.update("id", read.outs, dict(PROPS)).outs == PROPS
    assert not provider.diff("id", PROPS, PROPS).changes


def test_the_nodes_own_sentence_is_the_error(node):
    node.error = "Traceback\nthere is no ssh client. Run there `sudo apt-get install openssh-client`.\n"
    host = PROPS["connection"]["host"]
    with pytest.raises(TrtSparkError, match=f"^{host}: there is no ssh client"):
        SshClientProvider().create(dict(PROPS))
