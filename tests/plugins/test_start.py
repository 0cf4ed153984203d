"""A stand-in does not outlive the engine that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: An engine that starts a plugin, prints its process's number, and is then killed.
ENGINE = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(60)
"""
PLUGIN = """
import os, sys, threading, time
sys.path.insert(0, {root!r})
from plugins import start
threading.Thread(target=start.end_with, args=(os.getppid(),), daemon=True).start()
time.sleep(60)
"""


def test_it_ends_when_the_engine_is_killed():
    plugin = PLUGIN.format(root=str(ROOT))
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, plugin], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    child = int(engine.stdout.readline())
    time.sleep(1.5)
    os.kill(child, 0)
    engine.kill()
    engine.wait()
    engine.stdout.close()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][:1]
        if state == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("it outlived its engine")
