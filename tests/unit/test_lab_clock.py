"""The lab's clock that is off: programs see another time, and whatever waits still waits right."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from lab import engines

WAITS = """
import queue, subprocess, threading, time
ahead = time.time()
def took(wait):
    began = time.perf_counter()
    try:
        wait()
    except (queue.Empty, subprocess.TimeoutExpired):
        pass
    return round(time.perf_counter() - began, 2)
print(ahead)
print(took(lambda: time.sleep(0.05)))
print(took(lambda: threading.Event().wait(0.05)))
print(took(lambda: queue.Queue().get(timeout=0.05)))
print(took(lambda: subprocess.Popen(["sleep", "0.3"], stdout=-1).communicate(timeout=0.05)))
"""


@pytest.mark.parametrize("seconds", [3600, -90])
def test_programs_see_another_time_and_wait_as_ever(seconds):
    env = {"LD_PRELOAD": str(engines.clock()), "LAB_CLOCK_SECONDS": f"{seconds:+d}"}
    words = [sys.executable, "-I", "-S", "-c", WAITS]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    now, *waits = map(float, done.stdout.split())
    assert abs(now - seconds - time.time()) < 15
    assert all(0.04 <= wait < 2 for wait in waits), waits
