"""remote.Command by the engine and a real ssh server, with whatever plugin is installed."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from plugins.wire import ANY_UNKNOWN
from tests.plugins.conftest import Project, make_key

pytestmark = [pytest.mark.lab, pytest.mark.long]

PROGRAM = """
import json
import pulumi
from pulumi_command import remote

commands = {}
for name, case in json.load(open("case.json")).items():
    connection = remote.ConnectionArgs(**case.pop("connection"))
    if source := case.pop("stdin_from", None):
        case["stdin"] = commands[source].stdout
    commands[name] = remote.Command(name, connection=connection, **case)
    pulumi.export(name, commands[name].stdout)
    pulumi.export(f"{name}-err", commands[name].stderr)
"""


def with_program(project: Project) -> Project:
    project.program(PROGRAM)
    return project


@pytest.fixture
def commands(project):
    return with_program(project)


def locked(private_key: str, passphrase: str, path: Path) -> str:
    """The key under a passphrase."""
    path.touch(0o600)
    path.write_text(private_key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", passphrase, "-f", path], check=True)
    return path.read_text()


def test_a_life(commands, ssh_server, tmp_path):
    diary = tmp_path / "diary"
    case = {
        "connection": ssh_server.connection(),
        "create": f"echo create >> {diary}; cat; echo warning >&2",
        "update": f"echo update >> {diary}; echo new",
        "delete": f"(echo -n 'delete '; cat) >> {diary}",
        "stdin": "given\n",
        "triggers": ["a"],
        "add_previous_output_in_env": False,
    }
    first = commands.up({"probe": case})
    assert first.returncode == 0, first.stdout
    assert commands.outputs() == {"probe": "given", "probe-err": "warning"}
    state = commands.state()
    assert ssh_server.private_key.splitlines()[1] not in state
    assert re.search(r'"id": "probe[0-9a-f]{8}"', state)

    assert "2 unchanged" in commands.up({"probe": case}).stdout
    assert diary.read_text() == "create\n"

    case["update"] += " "
    assert "1 updated" in commands.up({"probe": case}).stdout
    assert commands.outputs()["probe"] == "new"

    case["triggers"] = ["b"]
    assert "1 replaced" in commands.up({"probe": case}).stdout
    assert diary.read_text() == "create\nupdate\ncreate\ndelete given\n"
    commands.pulumi("destroy", "--yes", "--skip-preview", case={"probe": case})
    assert diary.read_text().endswith("delete given\ndelete given\n")


def test_what_works(commands, ssh_server, tmp_path):
    connection = ssh_server.connection()
    key = locked(ssh_server.private_key, "pass word", tmp_path / "locked")
    cases = {
        "any-host-key": {"connection": {**connection, "host_key": None}},
        "by-proxy": {"connection": {**connection, "proxy": connection}},
        "locked-key": {"connection": {**connection, "private_key": key, "private_key_password": "pass word"}},
        "variables": {
            "connection": connection,
            "create": "printenv LAB_A",
            "environment": {"LAB_A": "with 'quotes' and\nlines"},
        },
        "no-create": {"connection": connection, "create": None},
    }
    done = commands.up({name: {"create": "echo 1", **case} for name, case in cases.items()})
    assert done.returncode == 0, done.stdout
    outputs = {name: text for name, text in commands.outputs().items() if name in cases}
    expected = dict.fromkeys(cases, "1")
    assert outputs == {**expected, "variables": "with 'quotes' and\nlines", "no-create": ""}


def test_update(commands, ssh_server):
    """Falls back to create, and offers the earlier output, which this server does not take."""
    case = {"connection": ssh_server.connection(), "create": "echo 1"}
    quiet = {**case, "add_previous_output_in_env": False}
    commands.up({"warned": case, "quiet": quiet})
    reader = {**quiet, "create": "cat", "stdin_from": "warned"}
    cases = {"warned": {**case, "create": "echo 2"}, "reader": reader}
    preview = json.loads(commands.pulumi("preview", "--json", case=cases).stdout)
    steps = {step["urn"].rpartition("::")[2]: step for step in preview["steps"]}
    assert steps["reader"]["newState"]["inputs"]["stdin"] == ANY_UNKNOWN
    changed = {"create": "echo 2"}
    updated = commands.up({"warned": {**case, **changed}, "quiet": {**quiet, **changed}})
    assert "2 updated" in updated.stdout
    outputs = commands.outputs()
    assert (outputs["warned"], outputs["quiet"]) == ("2", "2")
    diagnostics = updated.stdout.partition("Diagnostics:")[2].partition("Outputs:")[0]
    assert "Unable to set 'PULUMI_COMMAND_STDOUT'" in diagnostics
    assert "quiet" not in diagnostics


@pytest.fixture(scope="module")
def failures(ssh_server, tmp_path_factory):
    """Diagnostics by resource of one `up` in which everything fails, and the state after it."""
    folder = tmp_path_factory.mktemp("failures")
    make_key(folder / "other")
    good = ssh_server.connection()
    rsa = make_key(folder / "rsa", "-t", "rsa")
    key = locked(ssh_server.private_key, "pass word", folder / "locked")
    cases = {
        "fails": {"create": 'echo out; echo "why" >&2; exit 3'},
        "status-255": {"create": "exit 255"},
        "other-host": {"connection": {**good, "host_key": make_key(folder / "host")}},
        "refused": {"connection": {**good, "private_key": (folder / "other").read_text()}},
        "nobody": {"connection": {**good, "port": 1, "dial_error_limit": 2}},
        "not-there": {"connection": {**good, "host": "no-such-host.invalid"}},
        "proxy": {"connection": {**good, "port": 1, "proxy": good}},
        "other-type": {"connection": {**good, "host_key": rsa}},
        "locked": {"connection": {**good, "private_key": key}},
        "agent": {"connection": {**good, "agent_socket_path": "/nobody/here"}},
        "variable": {"environment": {"OTHER": "1"}},
    }
    (folder / "project").mkdir()
    project = with_program(Project(folder / "project"))
    project.pulumi("stack", "init", "test")
    cases = {name: {"connection": good, "create": "true", **case} for name, case in cases.items()}
    failed = project.pulumi("up", "--yes", "--skip-preview", "--continue-on-error", case=cases)
    assert failed.returncode != 0
    shown = failed.stdout.partition("Diagnostics:")[2]
    parts = re.split(r"command:remote:Command \(([\w-]+)\):", shown)
    return {**dict(zip(parts[1::2], parts[2::2], strict=True)), "state": project.state()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fails", r'error: Process exited with status 3: running "echo out; echo \\"why\\" >&2; exit 3":'),
        ("fails", r"\n    why\n"),
        ("status-255", r'error: Process exited with status 255: running "exit 255":'),
        ("other-host", r"error: after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch\n"),
        (
            "refused",
            r"error: after 1 failed attempts: ssh: handshake failed: ssh: unable to authenticate, "
            r"attempted methods \[none publickey\], no supported methods remain\n",
        ),
        ("nobody", r"error: after 2 failed attempts: dial tcp 127\.0\.0\.1:1: connect: connection refused\n"),
        (
            "not-there",
            r"error: after 1 failed attempts: dial tcp: lookup no-such-host\.invalid.*: no such host\n",
        ),
        (
            "proxy",
            r"error: proxy: after 1 failed attempts: ssh: rejected: connect failed \(Connection refused\)\n",
        ),
        (
            "other-type",
            r"no common algorithm for host key; we offered: \[\"ssh-rsa\"\], peer offered: \[",
        ),
        ("locked", r"error: ssh: this private key is passphrase protected\n"),
        ("agent", r"error: dial unix /nobody/here: connect: no such file or directory\n"),
        ("variable", r"error: Unable to set 'OTHER'"),
    ],
)
def test_what_fails(failures, name, expected):
    assert re.search(expected, failures[name]), failures[name]


def test_what_failed_is_not_in_the_state(failures):
    assert "command:remote:Command" not in failures["state"]


def test_a_missing_host_is_told_before_anything_runs(commands, ssh_server):
    connection = ssh_server.connection(host=None)
    failed = commands.up({"probe": {"connection": connection, "create": "true"}})
    assert failed.returncode != 0
    assert "host" in failed.stdout + failed.stderr
