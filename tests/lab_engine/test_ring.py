"""Bytes around the ring, over loopback addresses that stand for rails."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from lab.engine.tensorrt_llm.nccl import ring
from lab.engine.tensorrt_llm.nccl.devices import Gid
from lab.engine.tensorrt_llm.nccl.log import Log, NcclError
from lab.engine.tensorrt_llm.nccl.ring import PROBE, STEP, Place, Ring, pairs
from lab.engine.tensorrt_llm.nccl.transport import Rail, Transport


class Meeting:
    """An allgather between threads."""

    def __init__(self, size):
        self._values = [None] * size
        self._barrier = threading.Barrier(size)

    def of(self, rank):
        def allgather(value):
            self._values[rank] = value
            self._barrier.wait(10)
            return list(self._values)

        return allgather


def rings(rails, change=lambda rank, places: places):
    """One ring per entry of `rails` (addresses of that rank), or the error it got."""
    meeting = Meeting(len(rails))
    made = [None] * len(rails)

    def one(rank):
        def allgather(value):
            return [change(other, places) for other, places in enumerate(meeting.of(rank)(value))]

        try:
            made[rank] = Ring(rank, len(rails), Transport("IB", rails[rank]), allgather, Log({}))
        except NcclError as error:
            made[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(rails))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return made


@pytest.mark.parametrize("size", [2, 3])
def test_a_step_needs_everyone(size):
    members = rings([(Rail(f"127.0.1.{rank}"), Rail(f"127.0.2.{rank}")) for rank in range(1, size + 1)])
    for _ in range(3):
        others = [threading.Thread(target=member.exchange, args=(STEP, 5)) for member in members[1:]]
        for other in others:
            other.start()
        members[0].exchange(STEP, patience=5)
        for other in others:
            other.join()
    with pytest.raises(TimeoutError):
        members[0].exchange(STEP, patience=0.1)
    for member in members:
        member.close()


def test_the_adapters_counters_grow(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        for name in ("xmit_data", "rcv_data", "xmit_packets", "rcv_packets"):
            (folder / f"port_{name}").write_text("10\n")
    members = rings([(Rail(f"127.0.1.{n}", folder),) for n, folder in enumerate(folders, start=1)])
    for folder in folders:
        assert (folder / "port_xmit_data").read_text() == f"{10 + len(PROBE) // 4}\n"
        assert (folder / "port_rcv_packets").read_text() == f"{10 + len(PROBE) // 4096}\n"
    for member in members:
        member.close()


def step(members):
    other = threading.Thread(target=members[1].exchange, args=(STEP, 20))
    other.start()
    members[0].exchange(STEP, patience=20)
    other.join()


LOSING = """
import sys
from pathlib import Path
from lab.engine.tensorrt_llm.nccl.transport import Rail
from tests.lab_engine import test_ring
folders = [Path(name) for name in sys.argv[1:]]
members = test_ring.rings([(Rail(f"127.0.1.{n}", folder),) for n, folder in enumerate(folders, start=1)])
for _ in range(60):
    test_ring.step(members)
for member in members:
    member.close()
"""


@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_lost_packets_are_counted_on_both_ends(tmp_path, lost):
    """Over the loopback of a namespace that really drops them."""
    if os.geteuid() != 0 or not shutil.which("iptables"):
        pytest.skip("network namespaces and iptables need root")
    names = ("packet_seq_err", "out_of_sequence")
    for end in ("a", "b"):
        (tmp_path / end / "counters").mkdir(parents=True)
        (tmp_path / end / "hw_counters").mkdir()
        for name in names:
            (tmp_path / end / "hw_counters" / name).write_text("0\n")
    drop = f"iptables -A INPUT -m statistic --mode random --probability {lost} -j DROP"
    script = f'ip link set lo mtu 9000 up && {drop if lost else ":"} && exec "$@"'
    folders = [str(tmp_path / end / "counters") for end in ("a", "b")]
    subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", sys.executable, "-c", LOSING, *folders],
        check=True,
        timeout=120,
    )
    counted = {
        name: [int((tmp_path / end / "hw_counters" / name).read_text()) for end in "ab"] for name in names
    }
    if lost:
        assert all(number > 0 for number in counted["packet_seq_err"])
        assert any(number > 0 for number in counted["out_of_sequence"])
    else:
        assert counted == {name: [0, 0] for name in names}


def test_a_peer_that_left_is_an_error():
    first, second = rings([(Rail("127.0.1.1"),), (Rail("127.0.1.2"),)])
    second.close()
    with pytest.raises(NcclError, match="remote process exited"):
        first.exchange(STEP, patience=5)
    first.close()


def test_an_address_that_is_not_this_machines():
    (error,) = rings([(Rail("192.0.2.1"),)])
    assert "unhandled system error" in str(error)


def test_a_neighbour_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(ring, "CONNECT_SECONDS", 0.3)
    wrong = rings(
        [(Rail("127.0.1.1"),), (Rail("127.0.1.2"),)],
        change=lambda rank, places: [(host, 1, *rest) for host, _, *rest in places],
    )
    assert all(isinstance(member, NcclError) for member in wrong)


def places(*networks):
    """A rank's rails in NCCL's order, by the subnet of each."""
    return [Place("", 0, network) for network in networks]


def test_equal_places_are_paired_whatever_their_subnets():
    assert pairs(places("a", "b"), places("b", "a"), by_subnet=False) == [(0, 0), (1, 1)]


def test_crossed_halves_are_paired_by_subnet_when_asked():
    assert pairs(places("a", "b"), places("b", "a"), by_subnet=True) == [(0, 1), (1, 0)]


def test_a_ring_from_port_0_to_port_1_can_be_led_in_both_directions():
    first, second = places("x0", "z0", "x1", "z1"), places("y0", "x0", "y1", "x1")
    for mine, theirs in ((first, second), (second, first)):
        for own, other in pairs(mine, theirs, by_subnet=True):
            assert mine[own].network == theirs[other].network


def test_a_ring_from_port_0_to_port_0_cannot():
    found = pairs(places("x0", "z0"), places("x0", "y0"), by_subnet=True)
    assert (1, 1) in found


@pytest.mark.parametrize(
    ("rails", "said"),
    [
        (
            (
                Rail("127.0.1.1", None, "192.168.0.0/24", "a:1", Gid(3, "::ffff:c0a8:0001")),
                Rail("127.0.1.2", None, "192.168.1.0/24", "a:1", Gid(3, "::ffff:c0a8:0102")),
            ),
            "local GID ::ffff:192.168.0.1, remote GID ::ffff:192.168.1.2",
        ),
        (
            (
                Rail("127.0.1.1", None, "", "a:1", Gid(3, "::ffff:c0a8:0001")),
                Rail("127.0.1.2", None, "", "a:1", Gid(1, "fe80::1")),
            ),
            "remote GID fe80::1",
        ),
        (
            (
                Rail("127.0.1.1", None, "", "a:1", Gid(3, "::")),
                Rail("127.0.1.2", None, "", "a:1", Gid(3, "::")),
            ),
            "failed with 61 No data available, on dev a:1, curr state INIT, next state RTR, "
            "local GID index 3, local GID ::",
        ),
    ],
)
def test_another_subnet_or_family_is_not_reached(monkeypatch, capsys, rails, said):
    monkeypatch.setattr(ring, "CONNECT_SECONDS", 0.2)
    meeting = Meeting(2)
    failed = []

    def one(rank):
        with pytest.raises(NcclError):
            Ring(rank, 2, Transport("IB", (rails[rank],)), meeting.of(rank), Log({"NCCL_DEBUG": "WARN"}))
        failed.append(rank)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(failed) == [0, 1]
    assert said in capsys.readouterr().out
