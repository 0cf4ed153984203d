"""The resource of a node's fabric addresses: its diff, its check, and the change by a node that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster.errors import NodeError, Unreachable
from cluster.netplan import ip_interface, render
from dynamic_providers.fabric_addresses import FabricAddressesProvider
from remote import fabric_addresses
from remote.ssh import Result
from tests import samples

ADDRESSES = {"enp1s0f0np0": "172.16.100.11/24"}
PROPS: dict[str, Any] = {
    "stack": "dgx",
    "connection": samples.connections(1)[0].as_props(),
    "addresses": ADDRESSES,
    "file": render({name: ip_interface(text) for name, text in ADDRESSES.items()}),
    "gids": ["enp1s0f0np0"],
    "repair": "",
}


class Node:
    """Answers each question in turn; an exception is raised, a function called."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def __call__(self, _connection: Any) -> Node:
        return self

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        del stdin, timeout
        self.asked.append(json.loads(command.split("- ", 1)[1].strip("'"))["fabric_config"])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            return Result(1, "", answer)
        return Result(0, json.dumps({"fabric_config": answer}), "")

    def close(self) -> None:
        """Nothing is kept."""


def at(phase: str, reason: str = "") -> dict[str, Any]:
    return {"phase": phase, "reason": reason}


LOST = Unreachable("nvidia@10.24.11.11", "it does not answer on port 22.", "Is it on?")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fabric_addresses, "RETRY_S", 0)


def apply(node: Node, **changes: Any) -> dict[str, Any]:
    return fabric_addresses.apply({**PROPS, **changes}, lambda _text: None, node)


def test_a_gap_in_the_management_network_is_lived_through():
    node = Node(at("applying"), LOST, LOST, at("applying"), at("waiting"), at("kept"))
    assert apply(node)["mtu"] == 9000
    asked = [question["action"] for question in node.asked]
    assert asked == ["begin", "outcome", "outcome", "outcome", "outcome", "confirm"]


def test_a_confirmation_that_gets_lost_is_asked_for_again():
    node = Node(at("applying"), at("waiting"), LOST, at("kept"))
    apply(node)
    assert node.answers == []


def test_the_old_network_put_back_is_an_error_with_the_reason():
    node = Node(at("applying"), LOST, at("restored", "nobody confirmed it"))
    with pytest.raises(NodeError, match=r"^10\.24\.11\.11: .* not kept \(nobody confirmed it\); its net"):
        apply(node)


def test_a_node_that_does_not_come_back_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(fabric_addresses, "GUARD_S", 0)
    node = Node(at("applying"), *[LOST] * 10000)
    with pytest.raises(NodeError, match=r"does not answer on port 22.*a restart brings the old network back"):
        fabric_addresses.apply(PROPS, lambda _text: None, node, keep_s=0.05)


def test_an_address_without_its_gid_is_an_error_wherever_the_gid_would_stand():
    """The node looks for it, at any index; the plan of old states had {interface: index}."""
    for gids in (["enp1s0f0np0"], {"enp1s0f0np0": 3.0}):
        node = Node(at("restored", "enp1s0f0np0 has no RoCE v2 GID for 172.16.100.11/24"))
        with pytest.raises(NodeError, match="enp1s0f0np0 has no RoCE v2 GID"):
            apply(node, gids=gids)
        assert node.asked[0]["gids"] == ["enp1s0f0np0"]


def test_the_nodes_own_sentence_is_the_error():
    with pytest.raises(NodeError, match="sudo asks for a password"):
        apply(Node("Traceback\nsudo asks for a password for `netplan generate`.\n"))


def test_removing_waits_for_the_end():
    node = Node(at("applying"), LOST, at("removed"))
    fabric_addresses.remove(PROPS, lambda _text: None, node)
    failed = Node(at("applying"), at("removed", "`netplan apply` failed: x"))
    with pytest.raises(NodeError, match="our netplan file is removed, but `netplan apply` failed: x"):
        fabric_addresses.remove(PROPS, lambda _text: None, failed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"repair": "it was edited"}, True),
        ({"file": "edited"}, True),
        ({"addresses": {}}, True),
        ({"connection": {**PROPS["connection"], "port": 2222}, "gids": []}, False),
        ({"connection": {"host": "other"}}, True),  # the same file, which that machine does not have
    ],
)
def test_diff(changes, expected):
    assert FabricAddressesProvider().diff("id", PROPS, {**PROPS, **changes}).changes is expected


def test_a_repair_done_is_no_reason_for_another():
    assert not FabricAddressesProvider().diff("id", {**PROPS, "repair": "it was edited"}, PROPS).changes


@pytest.mark.parametrize("address", ["172.16.100.11", "172.16.100.12/24", "x/24"])
def test_check_refuses_an_address_that_is_none_or_not_the_files(address):
    found = FabricAddressesProvider().check({}, {**PROPS, "addresses": {"enp1s0f0np0": address}})
    assert [failure.property for failure in found.failures] == ["addresses"]
    assert FabricAddressesProvider().check({}, PROPS).failures == []


def test_read_shows_what_is_there(monkeypatch: pytest.MonkeyPatch):
    def answering(found: dict[str, Any]) -> Callable[..., dict[str, Any]]:
        return lambda _props: found

    edited = {"file": "edited", "addresses": {"enp1s0f0np0": "10.0.0.1/8"}}
    monkeypatch.setattr(fabric_addresses, "read", answering(edited))
    found = FabricAddressesProvider().read("id", PROPS)
    assert (found.inputs["file"], found.inputs["addresses"]) == ("edited", edited["addresses"])
    monkeypatch.setattr(fabric_addresses, "read", answering({"file": "", "addresses": {}}))
    assert FabricAddressesProvider().read("id", PROPS).id == ""
