"""Records of ours that are empty, torn or of wrong types: `destroy` goes on, restores what is certain, and
says what it cannot know.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import fabric_files
from cluster.errors import NotPrepared
from cluster.swarm_plan import Ledger
from remote.node import as_root, detached, gpu_runtime, stop, weights_cache, weights_job
from tests.docker_machine import TOML, install
from tests.docker_machine import Machine as DockerMachine
from tests.netplan_machine import ADDRESSES, HALF0, TEXT
from tests.netplan_machine import Machine as NetplanMachine
from tests.unit import test_gpu_clock

GPU = "GPU-8a4f3c6e-5d2b-4e8a-9c1f-000000000001"
LOGIN = {"host": "a", "user": "u", "port": 22, "hostKey": "k"}
DEEP = "[" * 200_000
#: What a power cut, a full disk or a person leaves of a record.
TORN = ["", "\0" * 40, '{"files": {"/etc/doc', "[]", "7", '"text"', DEEP, '{"a":' * 100_000, "{}"]
OF_TYPES = [
    {"files": [], "group": 7, "stack": ["dgx"]},
    {"files": {"DAEMON": 1, "TOML": None}, "group": "", "stack": "dgx"},
    {"files": {"DAEMON": {"before": 1, "after": [], "changes": "x"}}, "group": "", "stack": "dgx"},
    {"files": {"DAEMON": {"before": None, "after": None, "changes": {"runtime": True}}}, "stack": "dgx"},
    {"files": {"/etc/passwd": {"before": None, "after": None, "changes": {}}}, "group": "", "stack": "dgx"},
    {"stack": "dgx"},
]


@pytest.fixture
def docker(tmp_path, monkeypatch):
    made = DockerMachine(tmp_path)
    install(made, monkeypatch)
    return made


def prepare() -> None:
    gpu_runtime.main({"action": "apply", "gpu": GPU, "group": False, "stack": "dgx", "take_over": ""})


def give_back() -> dict[str, Any]:
    return gpu_runtime.main({"action": "restore", "stack": "dgx"})


def tear(machine: DockerMachine, what: Any) -> None:
    if isinstance(what, str):
        machine.record.write_text(what)
        return
    text = json.dumps(what).replace("DAEMON", str(machine.daemon)).replace("TOML", str(machine.toml))
    machine.record.write_text(text)


@pytest.mark.parametrize("what", [*TORN, *OF_TYPES], ids=lambda what: str(what)[:40])
@pytest.mark.parametrize("before", [None, '{"debug": true}\n'])
def test_files_that_nobody_edited_since_come_back_byte_for_byte(docker, what, before):
    if before is not None:
        docker.write(before)
    prepare()
    tear(docker, what)
    done = give_back()
    assert done["docker"] == "restarted"
    assert (docker.daemon.read_text() if docker.daemon.exists() else None) == before
    assert docker.toml.read_text() == TOML
    assert str(docker.record) in done["notes"][0]
    assert not docker.record.parent.exists()
    assert list(docker.daemon.parent.glob("*trtspark*")) == []


@pytest.mark.parametrize("what", ["", OF_TYPES[1]])
def test_a_file_with_edits_stays_and_it_says_which_and_what_to_do(docker, what):
    docker.write('{"debug": true}')
    prepare()
    docker.write(json.dumps({**json.loads(docker.daemon.read_text()), "log-driver": "local"}))
    there = docker.daemon.read_text()
    tear(docker, what)
    done = give_back()
    assert (docker.daemon.read_text(), done["docker"]) == (there, "")
    assert docker.toml.read_text() == TOML, "what is certain is restored"
    [said] = [note for note in done["notes"] if note.startswith("What was in ")]
    assert str(docker.daemon) in said
    assert f"remove {docker.record}" in said
    assert docker.record.exists(), "the next `up` must not take our text for the owner's"
    kept = docker.daemon.with_name(docker.daemon.name + gpu_runtime.KEPT)
    assert kept.read_text() == '{"debug": true}'
    with pytest.raises(stop.Stop, match="cannot be understood"):
        prepare()


def test_a_torn_record_on_a_machine_with_nothing_of_ours_is_only_removed(docker):
    docker.record.parent.mkdir(parents=True)
    docker.record.write_text("")
    docker.write('{"debug": true}')
    assert give_back()["changed"] == []
    assert docker.daemon.read_text() == '{"debug": true}'
    assert not docker.record.exists()


def test_a_link_in_the_place_of_a_file_is_refused_before_anything_is_put_back(docker, tmp_path):
    prepare()
    (tmp_path / "theirs").write_text(docker.daemon.read_text())
    docker.daemon.unlink()
    docker.daemon.symlink_to(tmp_path / "theirs")
    there, calls = docker.toml.read_text(), len(docker.calls)
    with pytest.raises(stop.Stop, match=r"is a symbolic link to .*theirs"):
        give_back()
    assert docker.toml.read_text() == there
    assert {words[0] for words in docker.calls[calls:]} <= {"cat"}


# --- the GPU's clock


@pytest.fixture
def clocked(tmp_path, monkeypatch):
    return test_gpu_clock.machine.__wrapped__(tmp_path, monkeypatch)


@pytest.mark.parametrize("what", [*TORN, '{"stack": 7}'], ids=lambda what: what[:40])
@pytest.mark.parametrize("edited", [False, True])
def test_a_cap_is_taken_back_without_its_record(clocked, what, edited):
    clocked.ask("apply", limit=2200)
    clocked.record.write_text(what)
    if edited:
        clocked.unit.write_text("[Service]\n")
    done = clocked.ask("restore")
    assert done["changed"]
    assert str(clocked.record) in done["notes"][0]
    assert (clocked.lock, clocked.unit.exists(), clocked.record.exists()) == (None, False, False)


# --- the fabric's addresses


@pytest.fixture
def fabric(tmp_path, monkeypatch):
    found = NetplanMachine(tmp_path, monkeypatch)
    found.ask("begin")
    found.waits()
    found.ask("confirm")
    yield found
    found.join()


@pytest.mark.parametrize("what", [*TORN, '{"stack": "dgx", "addresses": ["; reboot"]}'], ids=lambda w: w[:40])
def test_addresses_are_taken_back_by_what_the_state_knows(fabric, what):
    Path(fabric.program.RECORD).write_text(what)
    done = fabric.ask("remove", file="", ours=TEXT)
    assert fabric.program.RECORD in done["note"]
    fabric.join()
    assert fabric.ask("outcome", file="")["phase"] == "removed"
    assert fabric.has()[HALF0] == set()
    assert fabric.files() == set()


def test_a_netplan_file_that_is_not_the_states_stays_and_is_named(fabric):
    Path(fabric.program.RECORD).write_text("")
    for ours in ("", TEXT + "# theirs\n"):
        done = fabric.ask("remove", file="", ours=ours)
        assert done["phase"] == "removed"
        assert f"sudo rm {fabric.program.FILE} {fabric.program.RECORD}" in done["note"]
    assert Path(fabric.program.FILE).read_text() == TEXT


def test_a_torn_record_is_said_at_preview(fabric):
    Path(fabric.program.RECORD).write_text("{")
    look = fabric_files.seen(fabric.ask("look", neighbours=[]))
    assert (look.torn, look.stack) == (True, "")
    with pytest.raises(NotPrepared, match=r"fabric\.json, our record .* cannot be understood.*sudo rm"):
        fabric_files.refuse_others("dgx", SimpleNamespace(node="a"), look, {})  # type: ignore[arg-type]


def test_a_link_in_the_place_of_our_netplan_file_is_refused(fabric, tmp_path):
    theirs = tmp_path / "theirs.yaml"
    os.rename(fabric.program.FILE, theirs)
    os.symlink(theirs, fabric.program.FILE)
    for action in ("begin", "remove"):
        with pytest.raises(stop.Stop, match="is a symbolic link"):
            fabric.ask(action)
    assert fabric_files.seen(fabric.ask("look", neighbours=[])).linked == (fabric.program.FILE,)
    assert theirs.read_text() == TEXT


def test_a_guards_torn_word_is_no_word(fabric):
    os.makedirs(fabric.program.GUARD)
    Path(fabric.program.GUARD, "status").write_text("{")
    assert fabric.ask("outcome")["phase"] == "kept", "by what is there"


# --- two runs that meet


def test_a_run_that_ends_leaves_the_next_ones_guard_alone(tmp_path, monkeypatch):
    machine = NetplanMachine(tmp_path, monkeypatch)
    machine.ask("begin", keep_s=0.3)
    machine.join()
    other = TEXT.replace("100.11", "100.99")
    moved = {**ADDRESSES, HALF0: "172.16.100.99/24"}
    machine.ask("begin", file=other, addresses=moved)
    machine.waits()
    # The first run hears of its end only now, and cleans up.
    assert machine.ask("outcome", wait_s=0.01)["phase"] == ""
    machine.program.finish()
    assert machine.ask("confirm", file=other, addresses=moved)["phase"] == "kept"
    machine.join()
    assert machine.files() == {"etc/netplan/40-trtspark-fabric.yaml", "var/lib/trtspark/fabric.json"}
    assert Path(machine.program.FILE).read_text() == other


@pytest.mark.parametrize("fails", ["status", "detached", "tried", "keep"])
def test_no_trial_is_left_without_its_guard(tmp_path, monkeypatch, fails):
    machine = NetplanMachine(tmp_path, monkeypatch)

    def broken(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine.program, fails, broken)
    if fails in ("status", "detached"):
        with pytest.raises(OSError, match="No space left"):
            machine.ask("begin")
    else:
        machine.ask("begin")
        machine.waits() if fails == "keep" else None
        machine.program.verdict("keep") if fails == "keep" else None
    machine.join()
    assert not os.path.exists(machine.program.TRIAL)
    assert machine.has() == {name: set() for name in machine.has()} or not machine.applied
    assert not os.path.exists(machine.program.FILE)


# --- the weights, and jobs


@pytest.mark.parametrize("what", [*TORN[:-1], '{"files": [1]}', '{"files": {"a": 1}, "made": {"x": 1}}'])
def test_weights_records_that_say_nothing_stop_nothing(tmp_path, monkeypatch, what):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path(weights_cache.state_folder("dgx"))
    folder.mkdir(parents=True)
    for name in ("weights.json", "journal.json", "status.json"):
        (folder / name).write_text(what)
    done = weights_job.forget({"stack": "dgx", "delete": True})
    assert done["removed"] == 0
    if what[:9] != '{"files":':
        assert str(folder / "weights.json") in done["notes"][0]
    assert not folder.exists()


@pytest.mark.parametrize("pid", [-1, 0, 1, "7", None, [], True])
def test_no_number_of_a_torn_status_is_sent_a_signal(tmp_path, monkeypatch, pid):
    sent: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    monkeypatch.setattr(detached, "END_S", 0.01)
    (tmp_path / "status.json").write_text(json.dumps({"pid": pid}))
    lock = detached.locked(str(tmp_path))
    detached.end(str(tmp_path))
    os.close(lock)
    assert sent == []


@pytest.mark.parametrize("text", [*TORN[1:], '{"logins": {"a": 7}}', '{"joined": 3}'], ids=lambda t: t[:40])
def test_a_torn_ledger_of_the_swarm_is_an_empty_one_and_is_told_from_one(text):
    assert Ledger.parse(text) == Ledger()
    assert Ledger.is_torn(text)


def test_of_a_ledger_with_a_torn_part_the_rest_is_known():
    text = json.dumps({"joined": ["b"], "bare": 7, "logins": {"b": [], "a": LOGIN}})
    assert Ledger.parse(text) == Ledger(frozenset("b"), frozenset(), {"a": LOGIN})
    assert Ledger.is_torn(text)
    for whole in (None, "", Ledger().text(), Ledger(frozenset("b"), frozenset(), {"a": LOGIN}).text()):
        assert not Ledger.is_torn(whole)


@pytest.mark.parametrize("text", TORN, ids=lambda text: text[:40])
def test_any_text_is_a_record_or_none(tmp_path, text):
    (tmp_path / "record").write_text(text)
    assert as_root.record(str(tmp_path / "record")) == {}
    assert as_root.record(str(tmp_path / "none")) is None


def test_a_lock_whose_file_another_run_removed_is_taken_anew(tmp_path, monkeypatch):
    """Else the next run holds one on another file beside it."""
    real = detached.fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        real(descriptor, how)
        monkeypatch.undo()
        (tmp_path / "lock").unlink()  # whoever was there before ends just now

    monkeypatch.setattr(detached.fcntl, "flock", flock)
    lock = detached.locked(str(tmp_path))
    assert detached.locked(str(tmp_path)) is None
    os.close(lock)


def test_nobody_begins_while_what_a_job_left_is_removed(tmp_path):
    (tmp_path / "lock").touch()
    with detached.ended(str(tmp_path)):
        assert detached.locked(str(tmp_path)) is None
    os.close(detached.locked(str(tmp_path)))
