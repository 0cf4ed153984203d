"""The whole program with an ssh agent: the operator's private key stays there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab import stack as stacks

pytestmark = [pytest.mark.lab, pytest.mark.long]


def test_with_an_agent_no_key_is_in_state_or_verbose_logs(lab, tmp_path, ssh_agent):
    env = {**os.environ, "SSH_AUTH_SOCK": ssh_agent}
    subprocess.run(["ssh-add", "-q", lab["identity"]], env=env, check=True)
    stack = stacks.create(tmp_path / "project", lab)
    stack.env["SSH_AUTH_SOCK"] = ssh_agent
    lines = Path(lab["identity"]).read_text().splitlines()[1:-1]
    try:
        done = stack.pulumi("up", "--yes", "--skip-preview", "--logtostderr", "-v=9")
        assert stack.up().counts.keys() == {"unchanged"}
        state = stack.pulumi("stack", "export", "--show-secrets").text
        for text in (done.text, state):
            assert "privateKey" not in text
            assert not any(line in text for line in lines)
    finally:
        stack.destroy()
