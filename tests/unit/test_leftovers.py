"""The commands for a machine that could not be reached when it was left out."""

from __future__ import annotations

import os
import re
import subprocess

from cluster.leftovers import by_hand


def test_the_commands_end_what_is_the_stacks_and_nothing_else(tmp_path):
    """By a shell, with a docker that writes down what it is asked for."""
    tools, keys = tmp_path / "bin", tmp_path / ".ssh" / "authorized_keys"
    tools.mkdir()
    keys.parent.mkdir()
    keys.write_text("mine\nssh-ed25519 A trtspark-mpi-dgx\nssh-ed25519 B trtspark-mpi-dgx2\n")
    (tmp_path / ".trtspark").mkdir()
    for stack in ("dgx", "dgx2"):
        (tmp_path / ".trtspark" / f"rank-exec-{stack}").touch()
    docker = tools / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >> "$HOME/asked"\n[ "$1" != ps ] || echo 4711\n')
    docker.chmod(0o755)
    [commands] = re.findall("`(docker .*)`", by_hand("dgx"))
    env = {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", commands], env=env, check=True, timeout=20)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "swarm leave --force",
        "ps -aqf label=trtspark.stack=dgx",
        "rm -f 4711",
        "volume rm -f trtspark-dgx-kernels",
    ]
    assert keys.read_text() == "mine\nssh-ed25519 B trtspark-mpi-dgx2\n"
    assert os.listdir(tmp_path / ".trtspark") == ["rank-exec-dgx2"]
