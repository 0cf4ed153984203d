"""Stopping the simulated engine under load, with the image's own uvicorn and the program that rank 0 runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from remote import rank0
from tests.lab_engine.test_in_image import drive, roots, serve  # noqa: F401  # two are fixtures
from tests.load import CLIENTS, EACH

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root"),
]
LOAD = Path(__file__).parents[1] / "load.py"


@pytest.mark.parametrize("ours", [True, False])
def test_a_stop_under_load(drive, roots, ours):  # noqa: F811  # the fixtures
    (roots(4) / "rank0.pyz").write_bytes(rank0.program())
    command = serve("Qwen/Qwen2.5-7B-Instruct")
    words = ["python3", "/rank0.pyz", "serve", *command] if ours else command
    found = drive(["python3", "/load.py", "8355", *words], files={"load.py": LOAD.read_text()}, seconds=45)
    assert found["exit"] == 0, found["log"]
    line = next(line for line in found["log"].splitlines() if line.startswith("seen "))
    seen = json.loads(line.removeprefix("seen "))
    assert seen["refused"] == len(CLIENTS) * EACH, seen
    if ours:
        assert set(seen) == {"answered", "closed", "refused"}, seen
    else:
        assert seen["reset"] > 0  # the load can see it
