"""The all-reduce's own program with the lab's PyTorch: two real processes over loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def driver(tmp_path):
    """One GPU, as nvidia-smi lists it."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GB10 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def start(rank: int, port: int, path: str, deadline: int = 20, **env: str) -> subprocess.Popen[str]:
    args: dict[str, Any] = {
        "rank": rank, "size": 2, "address": "127.0.0.1", "port": port, "bytes": 1 << 22, "rounds": 3,
        "deadline": deadline,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, str(ROOT / "remote/nccl_all_reduce.py")], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={
            "PATH": path, "PYTHONPATH": str(ROOT / "lab/engine"), "NCCL_IB_DISABLE": "1",
            "NCCL_VERSION": "2.28.9",
            "NCCL_SOCKET_IFNAME": "=lo", "TRTSPARK_NCCL_TEST": json.dumps(args), **env,
        },
    )  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_two_ranks_reduce_and_print_what_it_took(driver):
    port = free_port()
    ranks = [start(rank, port, driver) for rank in (1, 0)]
    printed = [rank.communicate(timeout=30)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    found = json.loads(printed[0].splitlines()[-1])["trtspark_nccl"]
    assert (found["rank"], found["size"], found["version"]) == (1, 2, "2.28.9")
    assert found["seconds"] >= 3 * (1 << 22) * 8 / 20e9, "no faster than sockets are"


def test_a_rank_alone_ends_at_its_deadline(driver):
    alone = start(0, free_port(), driver, deadline=2)
    alone.communicate(timeout=20)
    assert alone.returncode != 0


def test_without_a_gpu_it_fails_as_the_real_one(tmp_path):
    alone = start(0, free_port(), str(tmp_path))
    assert "Only 0 GPUs are available" in alone.communicate(timeout=20)[0]
