"""Docker on a node prepared and given back: files, reload or restart, group, and what is refused."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from remote.node import as_root, docker_daemon, gpu_runtime, stop
from tests.docker_machine import TOML, Machine, install

GPU = "GPU-8a4f3c6e-5d2b-4e8a-9c1f-000000000001"
RESOURCE = f"NVIDIA_GPU={GPU}"
LINE = 'swarm-resource = "DOCKER_RESOURCE_NVIDIA_GPU"'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    install(made, monkeypatch)
    return made


def apply(gpu: str = GPU, group: bool = False, stack: str = "dgx", take_over: str = "") -> dict[str, Any]:
    order = {"action": "apply", "gpu": gpu, "group": group, "stack": stack, "take_over": take_over}
    return gpu_runtime.main(order)


def restore(stack: str = "dgx") -> dict[str, Any]:
    return gpu_runtime.main({"action": "restore", "stack": stack})


def beside(path: Path) -> Path:
    return path.with_name(path.name + ".before-trtspark")


def traces(machine: Machine) -> list[Path]:
    """Files of ours that are not the two that were edited."""
    found = [*machine.daemon.parent.glob("*trtspark*"), *machine.toml.parent.glob("*trtspark*")]
    return found + ([machine.record.parent] if machine.record.parent.exists() else [])


# --- a fresh Spark, and back


def test_a_fresh_spark_is_prepared_and_put_back(machine):
    files = sorted([str(machine.daemon), str(machine.toml)])
    assert apply() == {"changed": files, "docker": "restarted", "login": False}
    assert json.loads(machine.daemon.read_text()) == {
        "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}},
        "default-runtime": "nvidia",
        "node-generic-resources": [RESOURCE],
    }
    assert LINE in machine.toml.read_text().splitlines()
    assert restore() == {"changed": files, "docker": "restarted", "login": False}
    assert not machine.daemon.exists()
    assert machine.toml.read_text() == TOML
    assert machine.has["node-generic-resources"] == []
    assert traces(machine) == []


def test_a_second_apply_changes_nothing_and_restarts_nothing(machine):
    apply()
    calls = list(machine.calls)
    assert apply() == {"changed": [], "docker": "", "login": False}
    assert [call for call in machine.calls[len(calls) :] if call[0] != "cat"] == []


@pytest.mark.parametrize(
    "text",
    [
        '{"log-driver":"local"}',
        '{\n\t"debug": true}\n\n',
        "{}",
        "",
        "\n",
        '{\r\n"debug":true}\r\n',
        '{"default-runtime": "runc", "node-generic-resources": ["NVIDIA_GPU=GPU-old", "FPGA=1"]}',
    ],
)
def test_byte_for_byte_back(machine, text):
    machine.write(text)
    machine.daemon.chmod(0o600)
    apply()
    assert machine.daemon.stat().st_mode & 0o777 == 0o600
    assert beside(machine.daemon).read_bytes() == text.encode()
    assert beside(machine.daemon).stat().st_mode & 0o777 == 0o600
    restore()
    assert machine.daemon.read_bytes() == text.encode()
    assert machine.daemon.stat().st_mode & 0o777 == 0o600
    assert traces(machine) == []
    assert machine.runs, "20.10 does not start with an empty file"


def test_our_record_has_the_checksum_of_what_is_kept_and_nothing_of_the_owners(machine):
    machine.write('{"proxies": {"http-proxy": "http://me:secret@proxy"}}')
    apply()
    record = machine.record.read_text()
    assert json.loads(record)["files"][str(machine.daemon)]["before"] == as_root.checksum(
        beside(machine.daemon).read_text()
    )
    assert "secret" not in record


def test_key_order_and_indentation_are_the_owners(machine):
    text = '{\n  "log-driver": "local",\n  "debug": true,\n  "insecure-registries": ["a:1", "b:2"]\n}\n'
    machine.write(text)
    apply()
    assert machine.daemon.read_text().startswith(text.removesuffix("\n}\n") + ',\n  "runtimes": {\n')


def test_a_new_file_can_be_read_by_everybody_whatever_the_logins_umask(machine):
    old = os.umask(0o077)
    try:
        apply()
    finally:
        os.umask(old)
    assert machine.daemon.stat().st_mode & 0o777 == 0o644


# --- edits in between


def test_byte_for_byte_back_after_two_gpus(machine):
    """The first text found is the owner's; our own must not be taken for it."""
    machine.write('{"debug":true}')
    apply()
    apply("GPU-new")
    assert machine.restarts == 2
    restore()
    assert machine.daemon.read_text() == '{"debug":true}'


def edit(machine: Machine, **more: Any) -> None:
    machine.write(json.dumps(json.loads(machine.daemon.read_text()) | more))


def test_the_owners_edits_in_between_survive(machine):
    machine.write('{"debug": true}')
    apply()
    edit(machine, **{"log-driver": "local"})
    machine.toml.write_text(machine.toml.read_text().replace('"info"', '"debug"'))
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True, "log-driver": "local"}
    assert machine.toml.read_text() == TOML.replace('"info"', '"debug"')
    assert traces(machine) == []


def test_the_owners_edits_between_two_applies_survive(machine):
    machine.write('{"debug": true}')
    apply()
    edit(machine, **{"log-driver": "local"})
    apply("GPU-new")
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True, "log-driver": "local"}


def test_a_file_of_ours_alone_that_somebody_added_to_keeps_only_theirs(machine):
    apply()
    edit(machine, debug=True)
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True}


def test_a_file_of_ours_alone_that_was_only_formatted_goes(machine):
    apply()
    edit(machine)
    restore()
    assert not machine.daemon.exists()


def test_a_file_that_the_owner_removed_stays_away(machine):
    apply()
    machine.daemon.unlink()
    assert restore()["docker"] == "restarted", "the running Docker still had ours"
    assert not machine.daemon.exists()
    assert machine.has["node-generic-resources"] == []


def test_other_resources_that_the_owner_added_stay(machine):
    apply()
    edit(machine, **{"node-generic-resources": ["FPGA=1", RESOURCE, "FPGA=2"]})
    restore()
    assert machine.has["node-generic-resources"] == ["FPGA=1", "FPGA=2"]


def test_given_back_by_hand_before_there_is_nothing_to_restart(machine):
    apply()
    machine.daemon.unlink()
    machine.start()
    assert restore()["docker"] == ""
    assert (machine.restarts, machine.reloads) == (1, 0)


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_a_kept_file_that_is_not_what_we_kept_is_never_put_back(machine, what):
    machine.write('{"debug": true}')
    apply()
    if what == "gone":
        beside(machine.daemon).unlink()
    else:
        beside(machine.daemon).write_text('{"data-root": "/else"}')
    restore()
    assert json.loads(machine.daemon.read_text()) == {"debug": True}


def test_a_file_broken_in_between_is_said_and_not_touched(machine):
    apply()
    machine.write("{")
    with pytest.raises(stop.Stop, match=r"is not valid JSON .* it was not touched"):
        restore()
    assert machine.daemon.read_text() == "{"
    assert machine.record.exists()


def test_restore_after_an_apply_that_was_cut_off_leaves_the_file_as_it_is(machine, monkeypatch):
    machine.write('{"debug":true}')

    def cut_off(path, text, **more):
        if path == str(machine.daemon):
            raise KeyboardInterrupt
        whole(path, text, **more)

    whole = as_root.put
    with monkeypatch.context() as patched:
        patched.setattr(as_root, "put", cut_off)
        with pytest.raises(KeyboardInterrupt):
            apply()
    assert machine.record.exists()
    restore()
    assert machine.daemon.read_text() == '{"debug":true}'
    assert traces(machine) == []


def test_restore_without_apply_touches_nothing(machine):
    machine.write('{"debug": true}')
    assert restore() == {"changed": [], "docker": "", "login": False}
    assert (machine.daemon.read_text(), machine.calls) == ('{"debug": true}', [])


# --- reload or restart


def owners_gpu(machine: Machine) -> None:
    """The owner offers the GPU already; what is missing can be reloaded."""
    machine.write(json.dumps({"node-generic-resources": [RESOURCE]}))
    machine.start()


def test_runtime_and_default_are_taken_by_a_reload(machine):
    owners_gpu(machine)
    assert apply()["docker"] == "reloaded"
    assert (machine.restarts, machine.has["default-runtime"]) == (0, "nvidia")


def test_a_reload_gives_them_back_though_a_key_that_is_gone_is_not_reset(machine):
    owners_gpu(machine)
    apply()
    assert restore()["docker"] == "reloaded"
    assert machine.restarts == 0
    assert machine.has["default-runtime"] == "runc"
    assert machine.has["runtimes"] == {}
    assert json.loads(machine.daemon.read_text()) == {"node-generic-resources": [RESOURCE]}


def test_cut_off_while_giving_back_by_reload_the_owners_file_still_comes_back(machine, monkeypatch):
    owners_gpu(machine)
    text = machine.daemon.read_text()
    apply()
    with monkeypatch.context() as patched:

        def cut_off(_wanted):
            raise KeyboardInterrupt

        patched.setattr(docker_daemon, "reload", cut_off)
        with pytest.raises(KeyboardInterrupt):
            restore()
    restore()
    assert machine.daemon.read_text() == text
    assert machine.has["default-runtime"] == "runc"


def test_a_reload_that_does_nothing_is_followed_by_one_restart(machine, monkeypatch):
    owners_gpu(machine)
    sudo = machine.sudo
    monkeypatch.setattr(as_root, "sudo", lambda *w, text=None: "" if "reload" in w else sudo(*w, text=text))
    assert apply()["docker"] == "restarted"
    assert machine.restarts == 1


def test_settings_the_daemon_has_not_read_are_worth_a_restart(machine):
    apply()
    machine.has["node-generic-resources"] = []
    assert apply() == {"changed": [], "docker": "restarted", "login": False}


def test_another_gpu_offered_too_is_worth_a_restart(machine):
    apply()
    machine.has["node-generic-resources"] = ["NVIDIA_GPU=GPU-old", RESOURCE]
    assert apply()["docker"] == "restarted"


def test_a_key_removed_that_the_daemon_still_has_needs_neither(machine):
    apply()
    found = json.loads(machine.daemon.read_text())
    del found["default-runtime"]
    machine.write(json.dumps(found))
    assert apply() == {"changed": [str(machine.daemon)], "docker": "", "login": False}
    assert (machine.restarts, machine.reloads) == (1, 0)
    assert json.loads(machine.daemon.read_text())["default-runtime"] == "nvidia"


def test_a_commented_line_alone_does_not_touch_docker(machine):
    apply()
    machine.toml.write_text(TOML)
    assert apply() == {"changed": [str(machine.toml)], "docker": "", "login": False}
    assert machine.restarts == 1


def test_systemds_start_limit_is_reset_before_each_restart(machine):
    apply()
    before = machine.calls.index(("systemctl", "restart", "docker")) - 1
    assert machine.calls[before] == ("systemctl", "reset-failed", "docker")


def test_a_docker_that_does_not_offer_the_gpu_afterwards_is_an_error_after_one_restart(machine):
    machine.deaf = True
    with pytest.raises(stop.Stop, match=f"Docker restarted but does not offer {RESOURCE}"):
        apply()
    assert machine.restarts == 1


def test_a_docker_that_does_not_start_gets_the_owners_file_back(machine):
    machine.write('{"debug": true}')
    real = machine.start

    def start():
        real()
        machine.runs = "nvidia" not in machine.daemon.read_text()

    machine.start = start  # type: ignore[method-assign]
    with pytest.raises(stop.Stop, match=r"did not answer within .* is as it was"):
        apply()
    assert machine.daemon.read_text() == '{"debug": true}'
    assert (machine.runs, machine.restarts) == (True, 2)


def test_a_docker_that_the_owner_stopped_is_not_started_by_restore(machine):
    apply()
    machine.runs = machine.active = False
    assert restore()["docker"] == ""
    assert machine.restarts == 1
    assert not machine.daemon.exists()


# --- refused before anything is touched


def untouched(machine: Machine, sentence: str) -> None:
    before = machine.daemon.read_bytes() if machine.daemon.exists() else None
    with pytest.raises(stop.Stop, match=sentence):
        apply()
    assert (machine.daemon.read_bytes() if machine.daemon.exists() else None) == before
    assert machine.toml.read_text() == TOML
    assert machine.calls == []


@pytest.mark.parametrize("text", ['{"debug": true,}', "[]", '"text"'])
def test_a_file_that_cannot_be_understood(machine, text):
    machine.write(text)
    untouched(machine, "was not touched")


def test_a_file_that_is_not_text(machine):
    machine.daemon.parent.mkdir(parents=True)
    machine.daemon.write_bytes(b'{"a": "\xff"}')
    untouched(machine, "is not UTF-8 text")


def test_a_symbolic_link(machine, tmp_path):
    machine.daemon.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("{}")
    machine.daemon.symlink_to(tmp_path / "elsewhere")
    untouched(machine, "is a symbolic link to .*elsewhere")
    assert machine.daemon.is_symlink()


@pytest.mark.parametrize("option", ["--default-runtime=runc", "--node-generic-resource=NVIDIA_GPU=x"])
def test_a_key_that_is_on_dockerds_command_line_too(machine, option):
    machine.options.append(option)
    untouched(machine, "on its command line, and would not start with it in")


def test_another_settings_file(machine):
    machine.options += ["--config-file", "/etc/docker/other.json"]
    untouched(machine, "dockerd reads its settings from /etc/docker/other.json")


def test_live_restore_excludes_swarm(machine):
    machine.live_restore = True
    untouched(machine, "live-restore, which Swarm refuses")


def test_settings_that_dockerd_itself_would_refuse(machine):
    machine.version = "29.1.3"
    machine.refuses = "the following directives don't match any configuration option: bogus"
    untouched(machine, "dockerd would not start with our keys .*don't match any configuration option: bogus")


def test_an_older_dockerd_cannot_be_asked(machine):
    machine.refuses = "never asked"
    assert apply()["docker"] == "restarted"


def test_destroy_does_not_restart_a_docker_that_would_not_start(machine):
    apply()
    machine.version, machine.refuses = "29.1.3", "bogus"
    edit(machine, bogus=True)
    with pytest.raises(stop.Stop, match="as you left it"):
        restore()
    assert machine.restarts == 1


def test_a_docker_that_does_not_run(machine):
    machine.runs = False
    untouched(machine, "Docker does not answer")


# --- the runtime's file


def test_a_machine_without_the_runtimes_config_gets_none(machine):
    machine.toml.unlink()
    assert apply()["changed"] == [str(machine.daemon)]
    assert not machine.toml.exists()


def test_another_name_in_swarm_resource_is_kept_beside_ours(machine):
    text = TOML.replace('#swarm-resource = "DOCKER_RESOURCE_GPU"', 'swarm-resource = "OTHER"')
    machine.toml.write_text(text)
    apply()
    assert tomllib.loads(machine.toml.read_text())["swarm-resource"] == "OTHER,DOCKER_RESOURCE_NVIDIA_GPU"
    restore()
    assert machine.toml.read_text() == text


# --- group docker


def test_who_is_not_in_the_group_is_put_there_and_comes_again_with_a_new_login(machine):
    machine.members = []
    assert apply(group=True) == {"changed": [], "docker": "", "login": True}
    assert machine.members == ["nvidia"]
    assert apply(group=True)["docker"] == "restarted"
    assert restore()["login"]
    assert machine.members == []
    assert traces(machine) == []


def test_who_was_in_the_group_before_stays_there(machine):
    assert not apply(group=True)["login"]
    restore()
    assert machine.members == ["nvidia"]


def test_whom_the_socket_lets_in_otherwise_is_left_out_of_the_group(machine):
    machine.members, machine.old_login = [], True
    assert apply(group=True)["docker"] == "restarted"
    assert machine.members == []


def test_nobody_is_put_into_the_group_unasked(machine):
    machine.members, machine.runs = [], False
    untouched(machine, "Docker does not answer")
    assert machine.members == []


def test_a_broken_file_is_refused_before_the_group_is_changed(machine):
    machine.members = []
    machine.write("{")
    with pytest.raises(stop.Stop, match="was not touched"):
        apply(group=True)
    assert (machine.members, machine.calls) == ([], [])


# --- one stack at a time


def test_a_machine_of_another_stack_is_not_touched(machine):
    apply()
    before = machine.daemon.read_text()
    with pytest.raises(stop.Stop, match="stack dgx"):
        apply("GPU-other", stack="two")
    assert restore("two") == {"changed": [], "docker": "", "login": False}
    assert machine.daemon.read_text() == before
    assert machine.record.exists()


def test_a_stack_that_takes_it_over_gives_it_back(machine):
    apply()
    apply(stack="two", take_over="dgx")
    assert json.loads(machine.record.read_text())["stack"] == "two"
    assert restore("dgx")["changed"] == []
    restore("two")
    assert not machine.daemon.exists()
    assert traces(machine) == []


def test_a_record_without_an_owner_is_anybodys(machine):
    apply()
    record = json.loads(machine.record.read_text())
    del record["stack"]
    machine.record.write_text(json.dumps(record))
    restore("two")
    assert traces(machine) == []
