"""The commands for a machine that could not be reached when it was left out."""

from __future__ import annotations

import os
import re
import subprocess
from unittest import mock

import pytest

from cluster.leftovers import by_hand
from cluster.swarm_plan import RANK_LABEL, STACK_LABEL
from remote import leftovers


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


@pytest.mark.parametrize(("ranks", "removed"), [(0, ["0", "1", "2", "odd", "none"]), (1, ["1", "2"])])
def test_services_that_others_gave_our_label_are_in_nobodys_way(ranks, removed):
    """Only those of ranks that are no more are removed, until the whole stack goes."""
    labels = {"0": "0", "1": "1", "2": "2", "odd": "first", "none": None}
    client = mock.Mock(
        configs=lambda: [],
        secrets=lambda: [],
        services=lambda filters: [
            {"ID": name, "Spec": {"Labels": {STACK_LABEL: "dgx", **({RANK_LABEL: rank} if rank else {})}}}
            for name, rank in labels.items()
        ],
    )
    leftovers.remove_objects(client, "dgx", ranks)
    assert [call.args[0] for call in client.remove_service.call_args_list] == removed
