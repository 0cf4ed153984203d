"""The rate in ib_write_bw's output, and its reasons when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.parsing import perftest

FOLDER = Path(__file__).parents[1] / "fixtures" / "perftest"


def printed(name: str) -> dict[str, object]:
    return {"rc": 0, "out": (FOLDER / f"{name}.txt").read_text(), "err": ""}


@pytest.mark.parametrize(
    ("name", "gbps"),
    [
        ("spark-four-queue-pairs", 111.71),
        ("given-time", 108.53),
        ("conflicting-cpu-frequency", 97.93),
        ("megabytes", None),
    ],
)
def test_the_average_is_read_in_gigabits_only(name, gbps):
    assert perftest.average(printed(name)) == gbps


@pytest.mark.parametrize(
    "out",
    [
        "",
        "BW average[Gb/sec]\n 65536 5000 0.00 nan 0.1\n",
        "BW average[Gb/sec]\n 65536 5000 0.00 99999.00 0.1\n",
        "BW average[Gb/sec]\n 65536 5000 0.00 100.00 0.1\n 131072 5000 0.00 101.00 0.1\n",
    ],
)
def test_what_is_no_result_is_none(out):
    assert perftest.average({"rc": 0, "out": out, "err": ""}) is None


def test_a_failed_run_has_no_rate_whatever_it_printed():
    assert perftest.average({**printed("given-time"), "rc": 1}) is None


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (
            "Couldn't connect to 192.168.100.12:18515\nUnable to open file descriptor for socket connection",
            "Couldn't connect to 192.168.100.12:18515",
        ),
        (
            "IB device rocep9 not found\n Unable to find the Infiniband/RoCE device",
            "IB device rocep9 not found",
        ),
        (" Did not detect devices \n If device exists, check if driver is up", "Did not detect devices"),
        (f"{'*' * 36}\n* Waiting for client to connect... *\n{'*' * 36}\n", "exit code 1 without a result"),
    ],
)
def test_the_reason_is_its_own_first_words(err, said):
    assert perftest.reason({"rc": 1, "out": "", "err": err}) == said
