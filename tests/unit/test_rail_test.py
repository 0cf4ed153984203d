"""RDMA writes between two nodes: the node program with the lab's ib_write_bw, over loopback addresses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.machinery.rdma_devices import DEVICE, PCIE, full
from remote import rail_test
from remote.fabric_test import Runner
from remote.ssh import Result

TOOL = Path(__file__).parents[2] / "lab/tools/ib_write_bw.py"
SYS = "/sys/class/infiniband"
ADDRESSES = {"roce-a0": "127.0.1.1", "roce-b0": "127.0.2.1", "roce-a1": "127.0.1.2", "roce-b1": "127.0.2.2"}


class Here:
    """A shell on this machine, with simulated RDMA devices and ib_write_bw."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = f"{root}/bin:/usr/bin:/bin"

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        done = subprocess.run(
            ["bash", "-c", command], input=stdin.replace(SYS, f"{self.root}/rdma"), capture_output=True,
            text=True, timeout=timeout, check=False, env={"PATH": self.path},
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)


def device(root: Path, name: str, address: str, **changes: str) -> None:
    """GIDs as a Spark has them, RoCE v2 over IPv4 at index 3."""
    mapped = full(f"::ffff:{address}")
    files = {
        **DEVICE, **PCIE, "ports/1/state": "4: ACTIVE", "ports/1/rate": "200 Gb/sec (4X HDR)",
        "ports/1/gids/2": mapped, "ports/1/gid_attrs/types/2": "IB/RoCE v1",
        "ports/1/gids/3": mapped, "ports/1/gid_attrs/types/3": "RoCE v2", **changes,
    }  # fmt: skip
    for file, text in files.items():
        path = root / "rdma" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.fixture
def here(tmp_path):
    for name, address in ADDRESSES.items():
        device(tmp_path, name, address)
    program = TOOL.read_text().replace(SYS, f"{tmp_path}/rdma")
    tool = tmp_path / "bin/ib_write_bw"
    tool.parent.mkdir()
    tool.write_text(program.replace("#!/usr/bin/python3", f"#!{sys.executable}"))
    tool.chmod(0o755)
    return Here(tmp_path)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rail_test, "SECONDS", 1)


def wire(rail: str) -> dict[str, Any]:
    ends = [
        {
            "node": f"spark-{n + 1}",
            "netdev": "lo",
            "hca": f"roce-{rail}{n}",
            "address": ADDRESSES[f"roce-{rail}{n}"],
        }
        for n in (0, 1)
    ]
    return {"ranks": [0, 1], "ends": ends}


def measure(here: Here, *rails: str) -> Any:
    said: list[str] = []
    runner = Runner(["spark-1", "spark-2"], [here, here], "rail_test")  # type: ignore[list-item]
    return rail_test.measure([wire(rail) for rail in rails], runner, said.append), said


def receivers(root: Path) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"{root}/bin/ib_write_bw"], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def until(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_every_rail_both_ways_and_all_at_once(here):
    found, said = measure(here, "a", "b")
    assert (found.skipped, found.missing) == ("", ())
    assert set(found.each) == {
        ("127.0.1.1", "127.0.1.2"), ("127.0.1.2", "127.0.1.1"),
        ("127.0.2.1", "127.0.2.2"), ("127.0.2.2", "127.0.2.1"),
    }  # fmt: skip
    assert all(80 < rate.gbps < 120 for rate in found.each.values()), found
    assert all(150 < sum(rate.gbps for rate in rates) < 200 for rates in found.together.values()), found
    assert len(found.together) == 2
    assert said[0] == "RDMA writes: spark-1 lo to spark-2"
    until(lambda: not receivers(here.root))


class Losing(Here):
    """One whose first device has lost packets by the end of each write."""

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        done = super().run(command, stdin, timeout)
        counter = self.root / "rdma/roce-a0/ports/1/hw_counters/packet_seq_err"
        if '"action": "write"' in stdin and counter.exists():
            counter.write_text(f"{int(counter.read_text()) + 21}\n")
        return done


def test_what_the_adapters_count_meanwhile(here):
    for name in ("roce-a0", "roce-b1"):
        device(here.root, name, ADDRESSES[name], **{"ports/1/hw_counters/packet_seq_err": "7"})
    found, _ = measure(Losing(here.root), "a")
    grown = {key: counters for key, counters in found.grown.items() if counters}
    # Both "nodes" are this machine, so each shows every device.
    assert grown == {
        (rank, name): {"packet_seq_err": count}
        for rank in (0, 1)
        for name, count in (("roce-a0", 42), ("roce-b1", 0))
    }


def test_a_narrow_link_is_slow_both_ways(here):
    device(here.root, "roce-b1", "127.0.2.2", **{"device/current_link_width": "2"})
    found, _ = measure(here, "b")
    assert all(40 < rate.gbps < 60 for rate in found.each.values()), found


def test_a_gid_that_moved_is_found_where_it_is(here):
    port = here.root / "rdma/roce-a0/ports/1"
    for folder in ("gids", "gid_attrs/types"):
        (port / folder / "3").rename(port / folder / "4")
    found, _ = measure(here, "a")
    assert all(rate.gbps for rate in found.each.values())


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda rdma: (rdma / "roce-a1").rename(rdma / "away"), "on spark-2: IB device roce-a1 not found"),
        (
            lambda rdma: (rdma / "roce-a1/ports/1/state").write_text("1: DOWN\n"),
            "on spark-2: Port number 1 state is Down",
        ),
        (
            lambda rdma: [path.write_text("::\n") for path in (rdma / "roce-a1/ports/1/gids").iterdir()],
            "on spark-1: Failed to modify QP to RTR",
        ),
    ],
)
def test_what_the_tool_refuses_is_told_in_its_words(here, break_it, reason):
    break_it(here.root / "rdma")
    found, _ = measure(here, "a")
    assert all(rate.gbps is None for rate in found.each.values())
    assert reason in found.each["127.0.1.1", "127.0.1.2"].said
    assert found.together == {}


def test_a_node_without_the_package_is_named_and_nothing_is_started(here):
    (here.root / "bin/ib_write_bw").unlink()
    found, said = measure(here, "a")
    assert list(found.missing) == ["spark-1", "spark-2"]
    assert said == []


def test_a_client_without_a_server_is_told(here):
    args = {"hca": "roce-a0", "address": "127.0.1.1", "to": "127.0.1.2", "port": 9, "seconds": 1}
    runner = Runner(["spark-1"], [here], "rail_test")  # type: ignore[list-item]
    answer = runner.one(0, {"action": "write", **args})
    assert answer["rc"] == 1
    assert answer["err"].startswith("Couldn't connect to 127.0.1.2:9\n")


def serving(here: Here, deadline_s: int) -> int:
    runner = Runner(["spark-1"], [here], "rail_test")  # type: ignore[list-item]
    args = {
        "action": "serve",
        "hca": "roce-a0",
        "address": "127.0.1.1",
        "seconds": 1,
        "deadline_s": deadline_s,
    }
    assert 0 < runner.one(0, args)["port"] < 65536
    [receiver] = receivers(here.root)
    return receiver


def test_a_receiver_ends_at_its_deadline_when_no_client_comes(here):
    serving(here, deadline_s=2)
    until(lambda: not receivers(here.root))


def test_a_receiver_ends_with_its_keeper_however_that_ends(here):
    receiver = serving(here, deadline_s=60)
    keeper = int(Path(f"/proc/{receiver}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper not in (1, os.getpid())
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not receivers(here.root))
