"""NCCL's lines: every form of 2.27 to 2.30, whole recordings, and hostile text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import engine_log, nccl_log, transport, transport_causes
from cluster.log_lines import Reader
from cluster.nccl_log import NcclLine, parse

RECORDED = Path(__file__).parents[1] / "fixtures" / "nccl-2.28.9"
NAMES = ("sockets", "ib-asked-for-without-devices", "interface-that-is-not-there")
NO_PLUGIN = "Failed to initialize any NET plugin"


def recording(name: str) -> list[str]:
    return (RECORDED / f"{name}.txt").read_text().splitlines()


def rank(number: int, hostname: str = "vm", *addresses: str) -> transport.Expected:
    return transport.Expected(number, f"10.24.11.{11 + number}", hostname, addresses, (), "1.18.0")


PAIR = (rank(0), rank(1))
"""Both ranks ran on one machine."""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "vm:770:771 [0] NCCL INFO NET/IB : No device found.",
            NcclLine("vm", 770, 771, "INFO", "NET/IB : No device found."),
        ),
        (
            f"[2026-11-28 16:39:37] vm:770:770 [0] plugin/net.cc:379 NCCL WARN {NO_PLUGIN}",
            NcclLine("vm", 770, 770, "WARN", NO_PLUGIN, "plugin/net.cc:379"),
        ),
        (
            f"[2026-09-01 10:00:00] n2:412:480 [0] misc/x.cc:380 (wrap_ibv_modify_qp) NCCL WARN {NO_PLUGIN}",
            NcclLine("n2", 412, 480, "WARN", NO_PLUGIN, "misc/x.cc:380", "wrap_ibv_modify_qp"),
        ),
        (
            "[1,1]<stdout>: n2:4:5 [-1] init.cc:1 (operator()) NCCL WARN a NCCL INFO b",
            NcclLine("n2", 4, 5, "WARN", "a NCCL INFO b", "init.cc:1", "operator()"),
        ),
        # NCCL_DEBUG_TIMESTAMP_LEVELS=ALL, with the default format and with others.
        ("[2026-11-28 16:39:37] vm:7:8 [1] NCCL INFO x", NcclLine("vm", 7, 8, "INFO", "x")),
        ("[2026-11-28 16:39:37]vm:7:8 [1] NCCL INFO x", NcclLine("vm", 7, 8, "INFO", "x")),
        ("16:39:37.123 vm-1:7:8 [1] NCCL INFO x", NcclLine("vm-1", 7, 8, "INFO", "x")),
        ("Sat Nov 28 2026 vm_1:7:8 [1] a.cc:3 NCCL WARN x", NcclLine("vm_1", 7, 8, "WARN", "x", "a.cc:3")),
        ("[1,0]<stderr>:vm:7:8 [1] NCCL INFO x", NcclLine("vm", 7, 8, "INFO", "x")),
        ("vm:7:8 NCCL CALL ncclAllReduce(1)", NcclLine("vm", 7, 8, "CALL", "ncclAllReduce(1)")),
        ("vm:7:8 [0] 1.5 init.cc:9 NCCL TRACE x", NcclLine("vm", 7, 8, "TRACE", "x", "init.cc:9")),
        ("vm:7:8 [0] NCCL INFO", NcclLine("vm", 7, 8, "INFO", "")),
        # Before 2.27, and what our fixtures had.
        ("vm:7:8 [0] NCCL WARN x", NcclLine("vm", 7, 8, "WARN", "x")),
        ("", None),
        ("NCCL version 2.28.9+cuda13.0", None),
        ("NCCL INFO x", None),
        (" NCCL INFO x", None),
        ("vm:7:8 NCCL INFO x", None),
        ("vm [0] NCCL INFO x", None),
        ("vm:a:8 [0] NCCL INFO x", None),
        ("vm:7:8 [0] NCCL INFORMATION x", None),
        ("RuntimeError: Failed, NCCL error: unhandled system error", None),
    ],
)
def test_the_forms_of_a_line(line, expected):
    assert parse(line) == expected


def test_every_line_of_the_recordings_is_read():
    others = {"", "sum 3.0 (2, 28, 9)"}
    for name in NAMES:
        assert {line for line in recording(name) if parse(line) is None} <= others
    assert sum(parsed.warning for name in NAMES for parsed in nccl_log.parse_all(recording(name))) == 3


def test_a_whole_run_over_sockets():
    lines = recording("sockets")
    # The address of both ranks is 127.0.0.1; each process prints its own rank.
    assert transport.reports(PAIR, lines) == {
        number: engine_log.RankTransport("vm", "Socket", ("lo",)) for number in (0, 1)
    }
    for number, pid in ((0, 706), (1, 707)):
        mine = nccl_log.parse_all(transport.lines_of(PAIR[number], PAIR, lines))
        assert {line.pid for line in mine} == {pid}
    assert not any(engine_log.fatal(line) for line in lines)
    found = transport.problems(PAIR, lines)
    assert [one.startswith(f"{r.name}: NCCL took sockets") for one, r in zip(found, PAIR, strict=True)] == [
        True,
        True,
    ]


def test_infiniband_without_devices_is_explained():
    lines = recording("ib-asked-for-without-devices")
    hosts = (rank(0, "vm"), rank(1, "other"))
    renamed = [line.replace("vm:771:", "other:771:") for line in lines]
    assert transport.reports(PAIR, lines) == {}
    said = transport_causes.told(hosts[::-1], renamed, transport.lines_of)
    assert said.startswith(f"rank 1 (10.24.11.12): NCCL said: '{NO_PLUGIN}'. Likely cause: no device of that")
    assert engine_log.cause(lines).startswith(engine_log.OF_NCCL)
    assert any(engine_log.fatal(line) for line in lines)


def test_a_warning_that_either_rank_may_have_printed_is_told_to_both():
    """Neither process came so far as to print its rank, and both are on `vm`."""
    for name in NAMES[1:]:
        said = transport_causes.told(PAIR, recording(name), transport.lines_of)
        assert said.startswith("rank 0 (10.24.11.11) or rank 1 (10.24.11.12): NCCL said: '")


def test_an_interface_that_is_not_there_is_explained():
    lines = recording("interface-that-is-not-there")
    said = transport_causes.told((rank(0, "vm.local"), rank(1, "other")), lines, transport.lines_of)
    assert said.startswith("rank 0 (10.24.11.11): NCCL said: 'Bootstrap : no socket interface found'. Likely")
    assert "NCCL_SOCKET_IFNAME is not in the container" in said
    assert engine_log.cause(lines).startswith(engine_log.OF_NCCL)
    assert any(engine_log.fatal(line) for line in lines)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("sockets", {"filter"}),
        ("ib-asked-for-without-devices", {"filter"}),
        ("interface-that-is-not-there", {"interface"}),
    ],
)
def test_trtspark_logs_marks_the_lines(name, ids):
    reader = Reader(["vm.example.org", "other"])
    lines = [reader.read(line) for line in recording(name)]
    assert {line.id for line in lines if line.id} == ids
    warnings = [line for line in lines if "NCCL WARN" in line.text]
    assert all(line.level == "error" and line.rank == 0 and line.known for line in warnings)


def test_a_communicator_of_some_ranks_does_not_number_them():
    """Tensor parallelism within pipeline stages: rank 0 of two is not rank 0 of four."""
    four = tuple(rank(number, "vm") for number in range(4))
    lines = [
        "vm:9:9 [0] NCCL INFO ncclCommInitRankConfig comm 0x1 rank 3 nranks 4 cudaDev 0 - Init START",
        "vm:9:9 [0] NCCL INFO [Rank 1] ncclCommInitRank comm 0x2 rank 1 nranks 2 cudaDev 0 - Init START",
    ]
    assert [bool(transport.lines_of(one, four, lines)) for one in four] == [False, False, False, True]
    reader = Reader(["vm"] * 4)
    assert [reader.read(line).rank for line in lines] == [3, 3]


PIECES = st.sampled_from(
    ["vm", ":", "7", " ", "[0]", "[", "]", "(", ")", "a.cc:3", " NCCL WARN ", " NCCL INFO ", " NCCL CALL ",
     " NCCL TRACE ", "NET/IB : Using ", "[0]a:1/RoCE", "Bootstrap: Using ", "a:1.2.3.4<0>", "; OOB ",
     "ncclCommInitRank comm 0x1 rank ", " nranks ", "9" * 30, "\u0664", "\x00", "\ud800"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_nothing_raises(line):
    found = parse(line)
    if found is not None:
        assert found.host
        assert (found.own_address, found.own_rank, found.opened) is not None
    Reader(["vm", "other"]).read(line)
    engine_log.fatal(line)
    transport_causes.recognised(line)


@given(st.lists(PIECES, min_size=1, max_size=4).map("".join))
def test_the_time_is_linear(piece):
    """A megabyte of anything takes well under a second, not minutes."""
    line = f"vm:7:7 [0] NCCL INFO NET/IB : Using [0]{piece * (200_000 // len(piece))}"
    begun = time.process_time()
    for text in (line, line[15:]):
        if (found := parse(text)) is not None:
            assert (found.own_address, found.own_rank, found.opened) is not None
    assert time.process_time() - begun < 0.5
