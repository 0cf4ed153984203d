"""Where the operator's private key goes: nowhere with an ssh agent, into secrets and verbose logs without."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.plugins.test_command_end_to_end import PROGRAM

pytestmark = pytest.mark.lab


@pytest.fixture
def key(ssh_server, tmp_path):
    """The private key as a file."""
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(ssh_server.private_key)
    return path


def lines_with_the_key(text: str, key: str) -> int:
    """Count the lines of a log that show it, whole or in part."""
    return sum(any(part in line for part in key.splitlines()[1:-1]) for line in text.splitlines())


@pytest.mark.parametrize("with_agent", [True, False])
def test_verbose_logs_and_state(project, ssh_server, ssh_agent, key, with_agent):
    project.program(PROGRAM)
    given = {}
    if with_agent:
        project.env["SSH_AUTH_SOCK"] = ssh_agent
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": ssh_agent}, check=True)
        given = {"private_key": None}
    else:
        project.env.pop("SSH_AUTH_SOCK", None)
    case = {"probe": {"connection": ssh_server.connection(**given), "create": "echo there"}}
    done = project.pulumi("up", "--yes", "--skip-preview", "--logtostderr", "-v=9", case=case)
    assert done.returncode == 0, done.stdout
    assert project.outputs()["probe"] == "there"
    # The premise of docs/security.md, and that an agent makes it void.
    assert (lines_with_the_key(done.stderr, ssh_server.private_key) > 0) is not with_agent
    assert lines_with_the_key(project.state(), ssh_server.private_key) == 0
    shown = project.pulumi("stack", "export", "--show-secrets").stdout
    assert ("privateKey" in shown) is not with_agent
