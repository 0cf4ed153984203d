"""The node's side of `fabric: configure`: a machine of the test's own, real files, a netplan that applies."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from remote.node import stop
from tests.netplan_machine import ADDRESSES, HALF0, HALF1, TEXT, Machine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    found = Machine(tmp_path, monkeypatch)
    yield found
    found.join()


WANTED = {name: {address} for name, address in ADDRESSES.items()}
OURS = {"etc/netplan/40-trtspark-fabric.yaml", "var/lib/trtspark/fabric.json"}


def configure(machine: Machine) -> None:
    assert machine.ask("begin")["phase"] == "applying"
    machine.waits()
    assert machine.ask("confirm") == {"phase": "kept", "reason": ""}


def test_confirmed_it_stays_and_nothing_else_does(machine):
    configure(machine)
    assert machine.has() == WANTED
    assert machine.files() == OURS
    assert (machine.root / "etc/netplan/40-trtspark-fabric.yaml").read_text() == TEXT
    assert os.stat(machine.program.FILE).st_mode & 0o777 == 0o600


def test_unconfirmed_the_old_state_comes_back(machine):
    assert machine.ask("begin", keep_s=0.2)["phase"] == "applying"
    machine.join()
    assert machine.ask("outcome") == {"phase": "restored", "reason": "nobody confirmed it"}
    assert machine.has() == {HALF0: set(), HALF1: set()}
    assert machine.files() == set()


def test_while_it_is_unconfirmed_a_power_cut_would_take_it_away(machine):
    """It is in /run only."""
    machine.ask("begin", keep_s=0.5)
    machine.waits()
    assert not os.path.exists(machine.program.FILE)
    assert os.path.exists(machine.program.TRIAL)


def test_an_older_file_of_ours_comes_back_when_a_new_one_is_not_confirmed(machine):
    configure(machine)
    other = {HALF0: "172.16.100.99/24", HALF1: "172.16.101.11/24"}
    text = TEXT.replace("100.11", "100.99")
    machine.ask("begin", file=text, addresses=other, keep_s=0.2)
    machine.join()
    assert machine.has() == WANTED
    assert json.loads(Path(machine.program.RECORD).read_text())["addresses"] == ADDRESSES
    assert machine.ask("outcome", file=text)["phase"] == "restored"


def test_addresses_that_do_not_come_are_not_kept(machine, monkeypatch):
    monkeypatch.setattr(machine, "apply", lambda: None)
    machine.ask("begin")
    machine.waits()
    ended = machine.ask("confirm", settle_s=0.1)
    assert (ended["phase"], ended["reason"]) == (
        "restored",
        f"{HALF1} has no address, not 172.16.101.11/24",
    )
    assert machine.files() == set()


def test_a_file_that_netplan_refuses_changes_nothing(machine):
    machine.refuses = "90-NM-1.yaml:7:3: Error in network definition: unknown key 'x'"
    with pytest.raises(stop.Stop, match=r"unknown key 'x'\. Nothing was changed\."):
        machine.ask("begin")
    assert machine.applied == 0
    assert machine.files() == set()


def test_again_it_does_nothing(machine):
    configure(machine)
    assert machine.ask("begin")["phase"] == "kept"
    assert machine.applied == 1
    assert machine.files() == OURS


def test_a_removed_file_comes_back_without_touching_the_network(machine):
    configure(machine)
    os.remove(machine.program.FILE)
    assert machine.ask("begin")["phase"] == "kept"
    assert machine.applied == 1
    assert machine.files() == OURS


def test_an_interrupted_change_is_waited_for(machine):
    machine.ask("begin", keep_s=0.3)
    assert machine.ask("begin")["phase"] == "applying", "the first guard has ended by now"
    machine.waits()
    assert machine.ask("confirm")["phase"] == "kept"


def test_another_change_that_does_not_end_is_said(machine):
    machine.ask("begin", keep_s=1)
    with pytest.raises(stop.Stop, match="under way"):
        machine.ask("begin", wait_s=0.1)


def test_a_killed_guard_is_told_from_what_is_there(machine):
    machine.ask("begin")
    machine.waits()
    machine.program.verdict("keep")
    machine.join()
    machine.program.finish()
    assert machine.ask("outcome")["phase"] == "kept"
    os.remove(machine.program.FILE)
    assert machine.ask("outcome")["phase"] == "restored"


def test_removed_the_machine_is_as_it_was(machine):
    configure(machine)
    assert machine.ask("remove", file="")["phase"] == "applying"
    machine.join()
    assert machine.ask("outcome", file="") == {"phase": "removed", "reason": ""}
    assert machine.files() == set()
    assert machine.has() == {HALF0: set(), HALF1: set()}
    assert machine.ask("remove", file="")["phase"] == "removed"
    assert machine.applied == 2


def test_what_netplan_leaves_on_an_interface_is_taken_off(machine):
    """systemd-networkd forgets an interface that no file names any more, with its address and MTU on it."""
    configure(machine)
    machine.forgets = False
    machine.ask("remove", file="")
    machine.join()
    assert machine.has() == {HALF0: set(), HALF1: set()}
    assert {found["mtu"] for found in machine.interfaces.values()} == {1500}


def test_an_address_that_another_file_names_now_stays(machine):
    configure(machine)
    own = TEXT.replace(HALF1, "other")
    (machine.root / "etc/netplan/99-own.yaml").write_text(own)
    machine.ask("remove", file="")
    machine.join()
    assert machine.has()[HALF0] == {"172.16.100.11/24"}


def test_another_stacks_file_is_not_removed(machine):
    configure(machine)
    assert machine.ask("remove", file="", stack="other")["phase"] == "removed"
    assert machine.files() == OURS


def test_the_look_tells_record_file_and_dhcp(machine):
    configure(machine)
    found = machine.ask("look", neighbours=[])
    assert found["record"] == {"stack": "dgx", "addresses": ADDRESSES}
    assert found["file"] == TEXT
    assert found["dynamic"] == [], "an IPv6 address that is dynamic is not DHCP's"
    assert machine.ask("read", netdevs=[HALF0]) == {"file": TEXT, "addresses": {HALF0: "172.16.100.11/24"}}


def test_the_sudoers_lines_are_the_commands_used(machine):
    machine.ask("begin", keep_s=0.1)
    machine.join()
    configure(machine)
    machine.ask("look", neighbours=[])
    for forgets in (False, True):
        machine.forgets = forgets
        machine.ask("remove", file="")
        machine.join()
        machine.ask("outcome", file="")
        if not forgets:
            configure(machine)
    # The names are a Spark's; the machine of this test has the two of port 0.
    used = {tuple(re.sub("f0np0", "fXnpX", word) for word in words) for words in machine.used}
    assert {tuple(re.sub(r"f[01]np[01]", "fXnpX", word) for word in words) for words in allowed()} == used


def allowed() -> set[tuple[str, ...]]:
    text = (ROOT / "docs/preparing.md").read_text("utf-8").partition("`fabric: configure`: a test")[2]
    block = text.partition("```sudoers")[2].partition("```")[0]
    rules = [line.partition("NOPASSWD: ")[2] for line in block.splitlines() if line.strip()]
    words = [shlex.split(command) for rule in rules for command in rule.split(", ")]
    assert all(first.startswith(("/usr/bin/", "/usr/sbin/")) for first, *_ in words)
    return {(os.path.basename(first), *rest) for first, *rest in words}
