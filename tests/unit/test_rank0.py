"""Rank 0's main process: mpirun's words, and the files for ssh."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from cluster import fabric
from cluster.launch import Login, launch_file
from remote.node import rank0
from tests import samples

KEY = samples.HOST_KEY
LAUNCH: dict[str, Any] = {
    "ranks": [
        {"rank": 0, "address": "192.168.100.11", "user": "nvidia", "port": 22, "host_key": KEY},
        {"rank": 1, "address": "192.168.100.12", "user": "nick", "port": 2222, "host_key": "ssh-rsa AAAA"},
        {"rank": 2, "address": "192.168.100.13", "user": "nvidia", "port": 22, "host_key": KEY},
    ],
    "subnet": "192.168.100.0/24",
    "peer_deadline_s": 1,
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(rank0, "RUN", str(tmp_path / "run"))
    rank0.write_files(LAUNCH)
    return tmp_path / "run"


def options(words: list[str], kind: str) -> dict[str, str]:
    return {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == kind}


def test_openmpi_4():
    words = rank0.mpirun_words(LAUNCH, 4)
    mca = options(words, "--mca")
    assert mca["plm_rsh_args"].startswith("-F ")
    assert mca["oob_tcp_if_include"] == mca["btl_tcp_if_include"] == "192.168.100.0/24"
    assert "--prtemca" not in words


def test_openmpi_5():
    words = rank0.mpirun_words(LAUNCH, 5)
    prte = options(words, "--prtemca")
    assert (prte["plm"], prte["prte_if_include"]) == ("ssh", "192.168.100.0/24")
    assert prte["plm_ssh_args"].startswith("-F ")
    assert options(words, "--mca") == {"btl_tcp_if_include": "192.168.100.0/24"}


@pytest.mark.parametrize("major", [4, 5])
def test_one_rank_on_each_node(major):
    words = rank0.mpirun_words(LAUNCH, major)
    assert words[0] == "mpirun"
    assert words[words.index("-np") + 1] == "3"
    assert words[words.index("--map-by") + 1] == "ppr:1:node"


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ("mpirun (Open MPI) 4.1.7rc1\n\nReport bugs to http://www.open-mpi.org/community/help/\n", 4),
        ("mpirun (Open MPI) 5.0.8\n", 5),
    ],
)
def test_version_of_openmpi(tmp_path, monkeypatch, text, major):
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\nprintf %s '{text}'\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert rank0.openmpi_major() == major


def test_another_mpi_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mpirun").write_text("#!/bin/sh\necho HYDRA build details\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="not Open MPI"):
        rank0.openmpi_major()


def test_hosts_in_the_order_of_ranks(written):
    assert (written / "hostfile").read_text().splitlines() == [
        "192.168.100.11 slots=1",
        "192.168.100.12 slots=1",
        "192.168.100.13 slots=1",
    ]


def test_only_the_pinned_keys_are_known(written):
    assert (written / "known_hosts").read_text().splitlines() == [
        "[192.168.100.12]:2222 ssh-rsa AAAA",
        f"192.168.100.13 {KEY}",
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "192.168.100.12",
            {"user": "nick", "port": "2222", "hostkeyalgorithms": "rsa-sha2-512,rsa-sha2-256"},
        ),
        ("192.168.100.13", {"user": "nvidia", "port": "22", "hostkeyalgorithms": "ssh-ed25519"}),
    ],
)
def test_ssh_reads_its_configuration_as_meant(written, address, expected):
    done = subprocess.run(
        ["ssh", "-G", "-F", str(written / "ssh_config"), address], capture_output=True, text=True, check=True
    )
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert {key: found[key] for key in expected} == expected
    assert (found["stricthostkeychecking"], found["batchmode"]) == ("true", "yes")
    assert found["userknownhostsfile"] == f"{written}/known_hosts"


def test_the_folder_is_for_its_owner_alone(written):
    assert written.stat().st_mode & 0o777 == 0o700


def test_a_peer_that_never_answers_is_named_with_the_last_words(tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text("#!/bin/sh\necho 'ssh: Connection refused' >&2\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = rank0.wait_for_peers({**LAUNCH, "ranks": LAUNCH["ranks"][:2], "peer_deadline_s": 0})
    assert said == ["rank 1 at 192.168.100.12: ssh: Connection refused (after 0 s)"]


def test_peers_that_answer_are_waited_for_no_longer(tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert rank0.wait_for_peers(LAUNCH) == []


def test_it_understands_the_launch_file_of_the_program(tmp_path, monkeypatch):
    """The two sides are written apart: cluster/launch.py writes what remote/node/rank0.py reads."""
    monkeypatch.setattr(rank0, "RUN", str(tmp_path))
    planned = fabric.plan(samples.facts(2), [[], []])
    launch = rank0.json.loads(launch_file(planned, [Login("nvidia", 22, KEY)] * 2))
    rank0.write_files(launch)
    assert (tmp_path / "known_hosts").read_text() == f"192.168.100.12 {KEY}\n"
    assert "192.168.100.0/24" in rank0.mpirun_words(launch, 4)
