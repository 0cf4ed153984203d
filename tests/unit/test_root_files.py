"""Files of root's and of the user's on a node: one writer at a time, whole or not at all, and in time."""

from __future__ import annotations

import ast
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from remote import fabric_addresses, gpu_clock, gpu_runtime, rank_access, ssh_client
from remote.node import (
    as_root,
    authorized_key,
    deadline,
    docker_daemon,
    fabric_config,
    node_lock,
    stop,
    whole_file,
)
from remote.node import gpu_clock as clock_program
from remote.node import gpu_runtime as runtime_program

PUTS = 60
NODE = Path(__file__).parents[2] / "remote/node"


class Root:
    """What sudo runs, in this process; `before` is called with each command first."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.failed: list[str] = []
        self.before: Any = lambda words: None

    def sudo(self, *words: str, text: str | None = None) -> str:
        self.calls.append(words)
        self.before(words)
        try:
            match words:
                case ("mkdir", "-p", folder):
                    os.makedirs(folder, exist_ok=True)
                case ("cp", "-p", source, target):
                    shutil.copy2(source, target)
                case ("tee", path):
                    assert text is not None
                    with open(path, "w", encoding="utf-8") as handle:
                        for part in (text[:3], text[3:]):  # a pipe has no such manners as one write
                            handle.write(part)
                            handle.flush()
                            time.sleep(0)
                case ("mv", "-f", source, target):
                    os.replace(source, target)
                case ("rm", "-f", path):
                    Path(path).unlink(missing_ok=True)
                case _:
                    raise AssertionError(words)
        except OSError as error:
            self.failed.append(str(error))
            raise stop.Stop(str(error)) from None
        return ""


@pytest.fixture
def root(tmp_path, monkeypatch):
    made = Root()
    monkeypatch.setattr(as_root, "sudo", made.sudo)
    monkeypatch.setattr(node_lock, "PLACE", str(tmp_path))
    monkeypatch.setattr(node_lock, "POLL_S", 0.0005)
    return made


def both(work: Any) -> list[str]:
    """Two threads as two programs: each opens the lock for itself. Why they failed."""
    failed: list[str] = []

    def run(name: str) -> None:
        try:
            work(name)
        except Exception as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return failed


def test_two_writers_tear_nothing_and_no_move_fails(root, tmp_path, monkeypatch):
    path, torn = tmp_path / "daemon.json", list[str]()
    monkeypatch.setattr(whole_file, "flush", lambda _path: None)

    def work(name: str) -> None:
        for _ in range(PUTS):
            as_root.put(str(path), name * 200)
            found = path.read_text()
            if found not in ("a" * 200, "b" * 200):
                torn.append(found)

    assert both(work) == []
    assert (torn, root.failed) == ([], [])
    assert os.listdir(tmp_path) == ["daemon.json"]


def test_what_one_run_reads_and_writes_no_other_comes_between(root, tmp_path):
    path = tmp_path / "count"
    path.write_text("0")

    def work(_name: str) -> None:
        for _ in range(20):
            with node_lock.held():
                as_root.put(str(path), str(int(path.read_text()) + 1))

    assert both(work) == []
    assert path.read_text() == "40"


def test_the_lock_is_waited_for_no_longer_than_its_deadline(root):
    with node_lock.held():
        assert node_lock.busy()
        failed = both(lambda _name: node_lock.held(0.02).__enter__())
    assert len(failed) == 2
    assert "under way" in failed[0]
    assert not node_lock.busy()


def test_the_lock_leaves_no_file_and_a_forked_child_has_it_too(root, tmp_path):
    with node_lock.held():
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        os.close(read)
    assert node_lock.busy()
    os.close(write)
    os.waitpid(child, 0)
    assert not node_lock.busy()
    assert os.listdir(tmp_path) == []


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after(root, tmp_path, monkeypatch):
    order: list[str] = []
    root.before = lambda words: order.append(words[0])
    monkeypatch.setattr(whole_file, "flush", lambda path: order.append(os.path.basename(path)))
    as_root.put(str(tmp_path / "file"), "text")
    assert order == ["mkdir", "tee", "file" + as_root.NEW, "mv", tmp_path.name]


@pytest.mark.parametrize("when", ["before", "mkdir", "tee"])
def test_an_edit_in_between_is_never_overwritten(root, tmp_path, when):
    path = tmp_path / "daemon.json"
    path.write_text("the plan's")

    def edit(words: Any) -> None:
        if words[0] == when:
            path.write_text("somebody's")

    edit(["before"])
    root.before = edit
    if when != "before":
        path.write_text("the plan's")
    with pytest.raises(stop.Stop, match="edited by somebody else just now"):
        as_root.put(str(path), "ours", was="the plan's")
    assert path.read_text() == "somebody's"
    assert "mv" not in [words[0] for words in root.calls]


@pytest.mark.parametrize("behind", ["", as_root.NEW])
@pytest.mark.parametrize("text", ["ours", None])
def test_no_link_is_followed_or_replaced(root, tmp_path, behind, text):
    if behind and text is None:
        return
    theirs, path = tmp_path / "theirs", tmp_path / "daemon.json"
    theirs.write_text("theirs")
    path.with_name(path.name + behind).symlink_to(theirs)
    with pytest.raises(stop.Stop, match="is a symbolic link to"):
        as_root.put(str(path), text)
    assert (theirs.read_text(), root.calls) == ("theirs", [])


# --- files of the user's


def test_two_logins_add_their_keys_and_none_is_lost(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    def work(name: str) -> None:
        for number in range(10):
            authorized_key.main({"key": f"ssh-ed25519 {name}{number} someone"})

    assert both(work) == []
    assert len((tmp_path / ".ssh/authorized_keys").read_text().splitlines()) == 20
    assert os.listdir(tmp_path / ".ssh") == ["authorized_keys"]


def test_a_users_file_that_changed_meanwhile_stays_and_no_draft_is_left(tmp_path):
    path = tmp_path / "authorized_keys"
    path.write_bytes(b"new")
    with pytest.raises(stop.Stop, match="changed by somebody else"):
        whole_file.write(str(path), b"ours", 0o600, was=b"old")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["authorized_keys"]


# --- in time


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """A systemctl and a docker that do not answer, as root's: not to be killed by this user."""
    for name in ("systemctl", "docker"):
        script = tmp_path / name
        script.write_text("#!/bin/sh\nexec sleep 1\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def refused(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)


def test_a_restart_keeps_its_deadline_though_nothing_answers(hanging, monkeypatch):
    monkeypatch.setattr(docker_daemon, "RESTART_DEADLINE_S", 0.05)
    begun = time.monotonic()
    with pytest.raises(stop.Stop, match="no answer within"):
        docker_daemon.restart()
    assert time.monotonic() - begun < 1


def test_a_command_gets_no_more_than_is_left(hanging):
    begun = time.monotonic()
    with deadline.within(0.05):
        assert as_root.run(["docker", "info"])["rc"] == 124
        assert as_root.run(["docker", "info"])["rc"] == 124, "not even begun"
    assert time.monotonic() - begun < 1


def test_the_operator_waits_longer_than_the_node():
    wait = deadline.LOCK_S
    for waits, works in (
        (gpu_runtime.TIMEOUT_S, runtime_program.LONGEST_S),
        (gpu_clock.TIMEOUT_S, clock_program.LONGEST_S),
        (rank_access.TIMEOUT_S, rank_access.program.LONGEST_S),
        (ssh_client.TIMEOUT_S, 2 * ssh_client.program.TIMEOUT_S),
        (fabric_addresses.LOOK_TIMEOUT_S, fabric_config.WORK_S),
    ):
        assert waits > wait + works
        assert works <= wait, "another run would give up before this one ends"
    assert wait >= fabric_config.GUARD_S + fabric_addresses.KEEP_S + fabric_config.HEAD_START_S
    budget = runtime_program.WORK_S + docker_daemon.RELOAD_DEADLINE_S + 2 * docker_daemon.RESTART_DEADLINE_S
    assert budget < runtime_program.LONGEST_S


def test_every_command_of_a_node_program_has_a_deadline():
    """`subprocess.run` has a timeout; who has a process waits for it with one."""
    without = []
    for path in sorted(NODE.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
            name = ast.unparse(call.func)
            named = {keyword.arg for keyword in call.keywords}
            if name in ("subprocess.run", "subprocess.check_output") and "timeout" not in named:
                without.append(f"{path.name}:{call.lineno}")
            if name.endswith((".communicate", ".wait")) and not (named & {"timeout"} or call.args):
                without.append(f"{path.name}:{call.lineno}")
    assert without == []
