"""The cap on the GPU's clock, on a machine in a folder with a systemd and a GPU of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cluster import gpu_clock as plan
from cluster import sudoers
from remote.node import as_root, gpu_clock, node_lock, stop

MOST = 3003


class Machine:
    """Takes what the node program asks for, as systemd, sudo and nvidia-smi would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unit, self.record = (
            root / "etc/systemd/system/trtspark-gpu-clock.service",
            root / "gpu-clock.json",
        )
        self.unit.parent.mkdir(parents=True)
        self.calls: list[tuple[str, ...]] = []
        self.loaded: str | None = None
        self.enabled, self.active = False, False
        self.lock: int | None = None
        self.clock, self.broken = 208, False

    def reboot(self) -> None:
        self.lock, self.active, self.loaded = None, False, self.text()
        if self.enabled:
            self.start()

    def text(self) -> str | None:
        return self.unit.read_text() if self.unit.exists() else None

    def start(self) -> None:
        found = re.search(r"--lock-gpu-clocks=0,(\d+)$", self.loaded or "", re.M)
        self.active = bool(found) and int(found[1]) <= MOST and not self.broken
        self.lock = int(found[1]) if found and self.active else self.lock

    def sudo(self, *words: str, text: str | None = None) -> str:
        self.calls.append(tuple(word.replace(str(self.root), "") for word in words))
        match words:
            case ("mkdir", "-p", path):
                Path(path).mkdir(parents=True, exist_ok=True)
            case ("cp", "-p", a, b):
                Path(b).write_text(Path(a).read_text())
            case ("tee", path):
                Path(path).write_text(text or "")
            case ("mv", "-f", a, b):
                Path(a).rename(b)
            case ("rm", "-f", path):
                Path(path).unlink(missing_ok=True)
            case ("rmdir", *_):
                pass
            case ("systemctl", "daemon-reload"):
                self.loaded = self.text() or (self.loaded if self.active else None)
            case ("systemctl", "enable", _):
                self.enabled = True
            case ("systemctl", "restart", _):
                if self.active:
                    self.lock = None
                self.start()
                if not self.active:
                    raise stop.Stop("`systemctl restart` failed: control process exited with error code.")
            case ("systemctl", "disable", "--now", _):
                if self.active:
                    self.lock = None
                self.enabled = self.active = False
            case _:
                raise AssertionError(words)
        return ""

    def run(self, words, root=False, text=None, timeout=0):
        match words:
            case ["systemctl", "is-active", name]:
                ours = name == gpu_clock.NAME
                out = "active" if ours and self.active else "inactive"
            case ["systemctl", "is-enabled", name]:
                ours = name == gpu_clock.NAME
                out = "enabled" if not ours or self.enabled else "disabled"
            case ["nvidia-smi", query, _]:
                now = min(self.clock, self.lock or MOST)
                out = str({"clocks.sm": now, "clocks.max.sm": MOST}[query.partition("=")[2]])
            case _:
                raise AssertionError(words)
        return {"rc": 0, "out": out + "\n", "err": ""}

    def ask(self, action, **more):
        return gpu_clock.main({"action": action, "stack": "dgx", **more})


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    for name, path in (("UNIT", made.unit), ("RECORD", made.record), ("FOLDER", made.unit.parent)):
        monkeypatch.setattr(gpu_clock, name, str(path))
    monkeypatch.setattr(node_lock, "PLACE", str(tmp_path))
    monkeypatch.setattr(as_root, "sudo", made.sudo)
    monkeypatch.setattr(as_root, "run", made.run)
    return made


def test_a_cap_is_set_kept_over_a_reboot_and_taken_back(machine):
    assert machine.ask("apply", limit=2200) == {"changed": True}
    assert machine.lock == 2200
    assert machine.ask("read") == plan.wanted(2200)
    assert plan.unit_limit(machine.text()) == 2200
    machine.reboot()
    assert machine.ask("read") == plan.wanted(2200)
    assert machine.ask("restore") == {"changed": True}
    assert (machine.lock, machine.enabled, machine.active) == (None, False, False)
    assert not machine.unit.exists()
    assert not machine.record.exists()
    assert machine.ask("restore") == {"changed": False}


def test_again_it_changes_nothing_and_another_limit_does(machine):
    machine.ask("apply", limit=2200)
    before = len(machine.calls)
    assert machine.ask("apply", limit=2200) == {"changed": False}
    assert len(machine.calls) == before
    assert machine.ask("apply", limit=2000) == {"changed": True}
    assert machine.lock == 2000


@pytest.mark.parametrize(
    ("thing", "found"),
    [("unit", "edited"), ("unit", "none"), ("boot", "disabled"), ("now", "not set (inactive)"),
     ("now", "not in force (2418 MHz)")],
)  # fmt: skip
def test_drift_is_seen_and_put_right(machine, thing, found):
    machine.ask("apply", limit=2200)
    if found == "edited":
        machine.unit.write_text(machine.text() + "# mine\n")
    elif found == "none":
        machine.unit.unlink()
    elif thing == "boot":
        machine.enabled = False
    elif "inactive" in found:
        machine.active, machine.lock = False, None
    else:
        machine.lock, machine.clock = None, 2418
    assert machine.ask("read") == {**plan.wanted(2200), thing: found}
    assert machine.ask("apply", limit=2200) == {"changed": True}
    assert machine.ask("read") == plan.wanted(2200)


@pytest.mark.parametrize("undone", ["removed", "edited", "stopped"])
def test_a_cap_that_somebody_tampered_with_is_taken_back_all_the_same(machine, undone):
    machine.ask("apply", limit=2200)
    if undone == "removed":
        machine.unit.unlink()
    elif undone == "edited":
        machine.unit.write_text("[Service]\n")
    else:
        machine.active = False
    machine.ask("restore")
    assert machine.lock is None
    assert not machine.unit.exists()


def test_more_than_the_gpu_has_is_refused_before_anything_is_written(machine):
    with pytest.raises(stop.Stop, match="3003"):
        machine.ask("apply", limit=3004)
    assert not machine.calls


def test_a_gpu_that_takes_no_cap_is_left_as_it_was(machine):
    machine.broken = True
    with pytest.raises(stop.Stop, match="journalctl"):
        machine.ask("apply", limit=2200)
    assert not machine.unit.exists()
    assert not machine.record.exists()
    assert not machine.enabled


def test_another_stacks_cap_stays(machine):
    machine.ask("apply", limit=2200)
    with pytest.raises(stop.Stop, match="stack dgx"):
        machine.ask("apply", limit=2000, stack="other")
    assert machine.ask("restore", stack="other") == {"changed": False}
    assert machine.lock == 2200
    machine.ask("apply", limit=2000, stack="other", take_over="dgx")
    assert json.loads(machine.record.read_text())["stack"] == "other"


@pytest.mark.parametrize("lock", ["-lgc 0,2000", "--lock-gpu-clocks=0,2000"])
def test_a_unit_of_the_owners_that_sets_the_clock_is_named(machine, lock):
    other = machine.unit.with_name("gpu-quiet.service")
    other.write_text(f"[Service]\nExecStart=/usr/bin/nvidia-smi {lock}\n")
    with pytest.raises(stop.Stop, match=r"gpu-quiet\.service"):
        machine.ask("apply", limit=2200)
    assert not machine.calls


def test_a_unit_of_our_name_that_is_not_ours_is_not_replaced(machine):
    machine.unit.write_text("[Service]\n")
    with pytest.raises(stop.Stop, match="no record"):
        machine.ask("apply", limit=2200)
    assert machine.text() == "[Service]\n"


def test_the_sudoers_lines_are_the_commands_used(machine):
    machine.ask("apply", limit=2200)
    machine.ask("apply", limit=2000)
    machine.unit.unlink()
    machine.ask("restore")
    used = set()
    for call in machine.calls:
        words = [re.sub(r"^/gpu-clock\.json", "/var/lib/trtspark/gpu-clock.json", word) for word in call]
        used.add(" ".join(word or "/var/lib/trtspark" for word in words))
    rules = [line.partition("NOPASSWD: ")[2] for line in sudoers.clock_lines("nvidia")]
    allowed = {re.sub(r"^/usr/s?bin/", "", command) for rule in rules for command in rule.split(", ")}
    assert used == allowed
