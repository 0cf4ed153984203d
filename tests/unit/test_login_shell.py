"""Programs for nodes under a real bash whose ~/.bashrc is not as it should be, as sshd starts one."""

from __future__ import annotations

import subprocess

import pytest

from remote import node

ARGS = {"hub_cache": {"hf_cache": "/nowhere", "model": "a/b", "revision": None}}


def ran(home, start_up: str) -> subprocess.CompletedProcess[str]:
    (home / ".bashrc").write_text(start_up)
    # By these bash knows that sshd has started it for one command, and reads ~/.bashrc.
    env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "SSH_CLIENT": "127.0.0.1 1 22"}
    return subprocess.run(
        ["bash", "-c", node.command(ARGS)],
        input=node.program(hub_cache="look"),
        env=env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("start_up", "before"),
    [
        ("", ""),
        ("echo Welcome\n", "Welcome\n"),
        ("printf Welcome\n", "Welcome"),
        ("echo\n", "\n"),
        ("printf '\\033[31mred\\033[0m\\n'\n", "\x1b[31mred\x1b[0m\n"),
        ("echo '{\"a\": 1}'\n", '{"a": 1}\n'),
        ("seq 1000\n", None),
        ("echo noise >&2\n", ""),
        ("trap 'echo bye' EXIT\n", ""),
        ("echo unfinished; if\n", None),
        ("sleep 0.2\n", ""),
        ("cd /; umask 077; set -u\n", ""),
    ],
)
def test_an_answer_survives_what_a_login_prints(tmp_path, start_up, before):
    done = ran(tmp_path, start_up)
    assert node.answer(done.stdout)["hub_cache"]["folder"] == "/nowhere"
    if before is not None:
        assert node.before_answer(done.stdout) == before


@pytest.mark.parametrize("start_up", ["exit\n", "exit 3\n", "exec cat\n", "exec true\n", "cat >/dev/null\n"])
def test_a_login_that_runs_something_else_gives_no_answer(tmp_path, start_up):
    done = ran(tmp_path, start_up)
    with pytest.raises(ValueError, match=r"no answer|Expecting"):
        node.answer(done.stdout)
