"""Whose line it is, and what it means."""

from __future__ import annotations

import pytest

from cluster.log_lines import Line, Reader

HOSTS = ["spark-1", "spark-2"]


def read(*raw: str, hosts: list[str] = HOSTS) -> list[Line]:
    reader = Reader(hosts)
    return [reader.read(one) for one in raw]


def test_ranks_are_told_by_whatever_marks_them():
    lines = read(
        "[trtspark] starting: mpirun",
        "[11/24/2025-14:08:55] [TRT-LLM] [RANK 1] [I] Loading",
        "spark-2:87:87 [0] NCCL INFO NET/IB : Using [0]rocep1s0f0:1/RoCE [RO]; OOB a:192.168.100.12<0>",
        "spark-1:87:87 [0] NCCL INFO Bootstrap: Using a:192.168.100.11<0>",
        "[1,1]<stdout>: [TensorRT-LLM] TensorRT LLM version: 1.3.0rc5",
        "INFO:     Application startup complete.",
    )
    assert [line.rank for line in lines] == [0, 1, 1, 0, 1, 0]
    assert lines[4].text == "[TensorRT-LLM] TensorRT LLM version: 1.3.0rc5"


def test_a_traceback_belongs_to_the_line_before_it():
    lines = read(
        "[11/24/2025-14:08:55] [TRT-LLM] [RANK 1] [E] Failed to initialize executor on rank 1",
        "Traceback (most recent call last):",
        '  File "a.py", line 3, in load',
        "RuntimeError: Executor worker returned error",
        "some other program's line",
    )
    assert [line.rank for line in lines] == [1, 1, 1, 1, None]


def test_two_machines_of_one_name_are_told_apart_by_their_own_word():
    lines = read(
        "spark:87:87 [0] NCCL INFO Bootstrap: Using a:192.168.100.11<0>",
        "spark:91:91 [0] NCCL INFO ncclCommInitRankConfig comm 0x1 rank 1 nranks 2 cudaDev 0 - Init START",
        "spark:91:92 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/IB/0",
        hosts=["spark", "spark"],
    )
    assert [line.rank for line in lines] == [None, 1, 1]


def test_one_node_alone_is_rank_0():
    assert read("anything at all", hosts=["spark-1"])[0].rank == 0


@pytest.mark.parametrize(
    ("text", "id", "part"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", "out-of-memory", "gpuMemoryFraction"),
        (
            "spark-1:9:9 [0] init.cc:259 NCCL WARN NET/IB : Unable to open device rocep1s0f0",
            "no-device",
            "RDMA devices",
        ),
        ("[trtspark] ended: x (exit code 74: a worker cannot be reached)", "exit-74", "is it on"),
        ("[trtspark] ended with exit code 137", "exit-137", "killed"),
    ],
)
def test_a_known_problem_is_marked_and_explained(text, id, part):
    [line] = read(text)
    assert (line.id, line.level, line.harmless) == (id, "error", False)
    assert part in line.known


def test_what_is_harmless_is_said_to_be():
    [line] = read("x UCX  WARN  network device 'enp1s0f0np0' is not available, please use one or more of: a")
    assert line.harmless
    assert line.known.startswith("harmless: ")


def test_a_healthy_start_has_nothing_to_explain():
    lines = read(
        "[trtspark] waiting for rank 1 at 192.168.100.12: Connection refused",
        "spark-1:87:87 [0] NCCL INFO NET/IB : Using [0]rocep1s0f0:1/RoCE [RO]; OOB a:192.168.100.11<0>",
        "INFO:     Uvicorn running on http://10.24.11.11:8355",
    )
    assert not any(line.known for line in lines)


def test_colours_of_the_engine_are_taken_out():
    assert read("\x1b[33mWARNING\x1b[0m: slow")[0] == Line("WARNING: slow", None, "warning")
