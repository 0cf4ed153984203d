"""Docker's settings on a node: merged in, and put back byte for byte."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.node import gpu_runtime

GPU = "GPU-8a4f3c6e-5d2b-4e8a-9c1f-000000000001"
TOML = (Path(__file__).parents[1] / "fixtures/files/container-runtime-config.toml").read_text()
LINE = 'swarm-resource = "DOCKER_RESOURCE_NVIDIA_GPU"'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
daemons = st.fixed_dictionaries(
    {},
    optional={
        "runtimes": st.dictionaries(
            st.sampled_from(["nvidia", "kata"]), st.fixed_dictionaries({"path": st.text()})
        ),
        "default-runtime": st.sampled_from(["runc", "nvidia"]),
        "node-generic-resources": st.lists(st.sampled_from(["FPGA=1", "NVIDIA_GPU=GPU-old"]), max_size=2),
        "log-opts": json_values,
        "live-restore": st.booleans(),
    },
)


@given(daemons)
def test_unmerging_what_was_merged_is_what_there_was(before):
    after = gpu_runtime.merged(before, GPU)
    assert gpu_runtime.unmerged(after, before, after) == before


@given(daemons)
def test_merging_twice_is_merging_once(before):
    once = gpu_runtime.merged(before, GPU)
    assert gpu_runtime.merged(once, GPU) == once


@given(daemons)
def test_everything_else_in_the_settings_stays(before):
    after = gpu_runtime.merged(before, GPU)
    ours = ("runtimes", "default-runtime", "node-generic-resources")
    assert {k: v for k, v in after.items() if k not in ours} == {
        k: v for k, v in before.items() if k not in ours
    }
    assert before.get("runtimes", {}).items() <= after["runtimes"].items()
    assert [r for r in after["node-generic-resources"] if "NVIDIA_GPU" in r] == [f"NVIDIA_GPU={GPU}"]


@given(daemons, json_values)
def test_a_setting_made_in_between_survives(before, value):
    after = gpu_runtime.merged(before, GPU)
    assert gpu_runtime.unmerged({**after, "mine": value}, before, after) == {**before, "mine": value}


def test_a_value_of_ours_that_the_owner_changed_stays_theirs():
    after = gpu_runtime.merged({}, GPU)
    kept = gpu_runtime.unmerged({**after, "default-runtime": "runc"}, {}, after)
    assert kept == {"default-runtime": "runc"}


def test_the_toolkits_commented_line_is_set_and_nothing_else():
    text = gpu_runtime.with_swarm_resource(TOML)
    assert text == TOML.replace('#swarm-resource = "DOCKER_RESOURCE_GPU"', LINE)
    assert tomllib.loads(text)["swarm-resource"] == "DOCKER_RESOURCE_NVIDIA_GPU"
    assert gpu_runtime.with_swarm_resource(text) == text


@pytest.mark.parametrize("text", ["", "[nvidia-ctk]\npath = 'x'\n", 'swarm-resource = "OTHER"\n'])
def test_a_config_without_the_line_gets_it_at_top_level(text):
    found = tomllib.loads(gpu_runtime.with_swarm_resource(text))
    assert found["swarm-resource"] == "DOCKER_RESOURCE_NVIDIA_GPU"


class Machine:
    """A node in a folder: /etc and /var under it, sudo without being root, a Docker that rereads."""

    def __init__(self, root: Path) -> None:
        self.daemon, self.toml = root / "etc/docker/daemon.json", root / "etc/nvidia/config.toml"
        self.record = root / "var/lib/trtspark/gpu-runtime.json"
        self.restarts = 0
        self.running: dict[str, Any] = {}
        self.toml.parent.mkdir(parents=True)
        self.toml.write_text(TOML)

    def sudo(self, *words: str, text: str | None = None) -> str:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
        return done.stdout

    def restart(self) -> None:
        self.restarts += 1
        text = self.daemon.read_text().strip() if self.daemon.exists() else ""
        self.running = json.loads(text or "{}")

    def has(self, gpu: str) -> bool:
        return f"NVIDIA_GPU={gpu}" in self.running.get("node-generic-resources", [])

    def write(self, text: str) -> None:
        self.daemon.parent.mkdir(parents=True, exist_ok=True)
        self.daemon.write_bytes(text.encode())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    for name, value in (("DAEMON", made.daemon), ("TOML", made.toml), ("RECORD", made.record)):
        monkeypatch.setattr(gpu_runtime, name, str(value))
    monkeypatch.setattr(gpu_runtime, "sudo", made.sudo)
    monkeypatch.setattr(gpu_runtime, "docker_has", made.has)
    monkeypatch.setattr(gpu_runtime, "restart_docker", made.restart)
    return made


def apply() -> dict[str, Any]:
    return gpu_runtime.main({"action": "apply", "gpu": GPU})


def restore() -> dict[str, Any]:
    return gpu_runtime.main({"action": "restore"})


def test_a_fresh_spark_is_prepared_and_put_back(machine):
    assert apply() == {"changed": sorted([str(machine.daemon), str(machine.toml)]), "restarted": True}
    assert json.loads(machine.daemon.read_text())["default-runtime"] == "nvidia"
    assert LINE in machine.toml.read_text().splitlines()
    assert restore()["restarted"]
    assert not machine.daemon.exists()
    assert machine.toml.read_text() == TOML
    assert not machine.record.parent.exists()


def test_a_second_apply_changes_nothing_and_restarts_nothing(machine):
    apply()
    assert apply() == {"changed": [], "restarted": False}
    assert machine.restarts == 1


def test_settings_the_daemon_has_not_read_are_worth_a_restart(machine):
    apply()
    machine.running = {}
    assert apply() == {"changed": [], "restarted": True}


@pytest.mark.parametrize(
    "text", ['{"log-driver":"local"}', '{\n\t"debug": true}\n\n', "{}", "", '{\r\n"debug":true}\r\n']
)
def test_byte_for_byte_back(machine, text):
    machine.write(text)
    machine.daemon.chmod(0o600)
    apply()
    assert machine.daemon.stat().st_mode & 0o777 == 0o600
    restore()
    assert machine.daemon.read_bytes() == text.encode()
    assert machine.daemon.stat().st_mode & 0o777 == 0o600


def test_byte_for_byte_back_after_two_gpus(machine):
    """The first text found is the owner's; our own must not be taken for it."""
    machine.write('{"debug":true}')
    apply()
    gpu_runtime.main({"action": "apply", "gpu": "GPU-new"})
    restore()
    assert machine.daemon.read_text() == '{"debug":true}'


def test_the_owners_edits_in_between_survive(machine):
    machine.write('{"debug": true}')
    apply()
    edited = json.loads(machine.daemon.read_text()) | {"log-driver": "local"}
    machine.write(json.dumps(edited))
    machine.toml.write_text(machine.toml.read_text().replace('"info"', '"debug"'))
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True, "log-driver": "local"}
    assert machine.toml.read_text() == TOML.replace('"info"', '"debug"')


def test_the_owners_edits_between_two_applies_survive(machine):
    machine.write('{"debug": true}')
    apply()
    edited = json.loads(machine.daemon.read_text()) | {"log-driver": "local"}
    machine.write(json.dumps(edited))
    gpu_runtime.main({"action": "apply", "gpu": "GPU-new"})
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True, "log-driver": "local"}


def test_restore_after_an_apply_that_was_cut_off_leaves_the_file_as_it_is(machine, monkeypatch):
    machine.write('{"debug":true}')

    def cut_off(path, text):
        if path == str(machine.daemon):
            raise KeyboardInterrupt
        whole(path, text)

    whole = gpu_runtime.put
    with monkeypatch.context() as patched:
        patched.setattr(gpu_runtime, "put", cut_off)
        with pytest.raises(KeyboardInterrupt):
            apply()
    assert machine.record.exists()
    restore()
    assert machine.daemon.read_text() == '{"debug":true}'


def test_restore_without_apply_touches_nothing(machine):
    machine.write('{"debug": true}')
    assert restore() == {"changed": [], "restarted": False}
    assert (machine.daemon.read_text(), machine.restarts) == ('{"debug": true}', 0)


@pytest.mark.parametrize("text", ['{"debug": true,}', "[]", '"text"'])
def test_a_file_that_cannot_be_understood_is_never_touched(machine, text):
    machine.write(text)
    with pytest.raises(gpu_runtime.Stop, match="was not touched"):
        apply()
    assert machine.daemon.read_text() == text
    assert machine.toml.read_text() == TOML
    assert not machine.record.exists()


def test_a_machine_without_the_runtimes_config_gets_none(machine):
    machine.toml.unlink()
    assert apply()["changed"] == [str(machine.daemon)]
    assert not machine.toml.exists()


def test_a_docker_that_does_not_offer_the_gpu_afterwards_is_an_error(machine, monkeypatch):
    monkeypatch.setattr(gpu_runtime, "docker_has", lambda _gpu: False)
    with pytest.raises(gpu_runtime.Stop, match=f"NVIDIA_GPU={GPU}"):
        apply()
