"""A pull in words: its row, and its failures."""

from __future__ import annotations

import pytest

from cluster.errors import NotPrepared
from cluster.image_pull import failure, line
from cluster.weights_progress import Progress

IMAGE = "10.0.0.1:5000/nvidia/release:1"
#: Docker 29 with the containerd store, in the lab.
REFUSED = (
    f'failed to resolve reference "{IMAGE}": failed to do request: '
    'Head "https://10.0.0.1:5000/v2/nvidia/release/manifests/1": '
    "dial tcp 10.0.0.1:5000: connect: connection refused"
)


def row(**status):
    return line(Progress(["spark-1"]), 10.0, "spark-1", status)


def test_the_row_before_during_and_after_the_download():
    assert row() == "spark-1: the registry is asked"
    assert row(bytes=3_000_000_000) == "spark-1: 3.00 GB"
    assert row(bytes=3_000_000_000, size=15_000_000_000) == "spark-1: 3.00 GB of 15.00 GB"
    assert row(bytes=15_000_000_000, size=15_000_000_000) == "spark-1: 15.00 GB are there, being unpacked"
    assert row(bytes=4, size=4, unpacked=1) == "spark-1: 0.00 GB are there, being unpacked, 25 %"


def test_rate_and_time_left():
    progress = Progress(["spark-1"])
    line(progress, 0.0, "spark-1", {"bytes": 0, "size": 10**10})
    shown = line(progress, 5.0, "spark-1", {"bytes": 10**9, "size": 10**10, "note": "unexpected EOF"})
    assert shown == "spark-1: 1.00 GB of 10.00 GB, 0.20 GB/s, 45 s left [unexpected EOF]"


def test_the_end_of_dockers_text_is_what_counts():
    error = failure("spark-1", IMAGE, {"kind": "network", "error": REFUSED})
    assert isinstance(error, NotPrepared)
    assert error.found == (
        f"the pull of {IMAGE} broke (dial tcp 10.0.0.1:5000: connect: connection refused)."
    )
    long = failure("spark-1", IMAGE, {"kind": "tls", "error": "x" * 700 + " x509: unknown authority"})
    assert long.found.endswith("x509: unknown authority).")
    assert len(long.found) < 300


@pytest.mark.parametrize("status", [{}, {"kind": "nonsense", "error": "a\x1b[31m\nb"}, {"error": None}])
def test_a_status_that_makes_no_sense_still_gives_a_sentence(status):
    text = str(failure("spark-1", IMAGE, status))
    assert text.startswith(f"spark-1: {IMAGE} cannot be pulled (")
    assert text.isprintable()
