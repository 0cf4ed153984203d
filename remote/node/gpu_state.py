"""The GPU's state a few times in a row: one sample alone may fall between two steps of the engine.

Per cent, degrees Celsius, watts and MHz as nvidia-smi prints them, "[N/A]" included.
"""

import subprocess
import time

FIELDS = (
    "utilization.gpu",
    "temperature.gpu",
    "power.draw",
    "clocks.sm",
    "clocks.max.sm",
    "clocks_event_reasons.active",
)
WORDS = ["nvidia-smi", "--query-gpu=" + ",".join(FIELDS), "--format=csv,noheader,nounits"]
#: A wedged driver lets nvidia-smi hang.
TIMEOUT_S = 5
PAUSE_S = 0.4


def samples(count):
    """[{field: text}], at most `count`; fewer where nvidia-smi does not answer."""
    found = []
    for number in range(count):
        if number:
            time.sleep(PAUSE_S)
        try:
            done = subprocess.run(
                WORDS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            break
        row = (done.stdout.decode("utf-8", "replace").splitlines() or [""])[0]
        cells = [cell.strip() for cell in row.split(",")]
        if done.returncode or len(cells) != len(FIELDS):
            break
        found.append(dict(zip(FIELDS, cells, strict=True)))
    return found
