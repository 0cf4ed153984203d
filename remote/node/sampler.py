"""Looks at a node again and again while a benchmark runs: a line of JSON each time, until nobody reads.

One nvidia-smi that repeats itself serves for the whole time: starting one costs more than a sample should.
"""

import json
import os
import subprocess
import sys
import threading
import time

from remote.node import deadline, hca_counters

FIELDS = ["power.draw", "temperature.gpu", "utilization.gpu", "clocks.sm", "clocks_event_reasons.active"]
#: The last field is new; drivers of before know it by another name, which is worth no second try.
OLDER = FIELDS[:-1]
#: An nvidia-smi that was silent for so many intervals writes into a buffer, or hangs.
PATIENCE = 5


def main(args):
    """`args`: {"interval": seconds, "seconds": at most so long}. Prints lines of {"t": the node's clock,
    "gpu": {field: text} or None, "cpu": [busy, all] in ticks, "memory": bytes available,
    "hca": {name: [sent, received]} in bytes}.
    """
    interval, end = float(args["interval"]), time.monotonic() + float(args["seconds"])
    gpu = Gpu(interval)
    try:
        while time.monotonic() < end:
            sample = {
                "t": time.time(),
                "gpu": gpu.last(),
                "cpu": cpu(_text("/proc/stat")),
                "memory": available(_text("/proc/meminfo")),
                "hca": hca_counters.look({}),
            }
            sys.stdout.write(json.dumps(sample, sort_keys=True) + "\n")
            sys.stdout.flush()
            time.sleep(interval)
    except BrokenPipeError:
        # Nobody reads any more. The interpreter's own last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        gpu.end()
    return {}


class Gpu:
    """The first GPU, by an nvidia-smi that goes on."""

    def __init__(self, interval):
        self.interval, self.line, self.seen, self.process = interval, None, time.monotonic(), None
        self.fields = FIELDS
        self._start()

    def _start(self):
        words = ["nvidia-smi", "-i", "0", "--query-gpu=" + ",".join(self.fields)]
        words += ["--format=csv,noheader,nounits", "-lms", str(int(self.interval * 1000))]
        try:
            self.process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
            )
        except OSError:
            self.process = None
            return
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            self.line, self.seen = line, time.monotonic()

    def last(self):
        """The last reading by field, or None."""
        if self.process is None:
            return None
        if self.process.poll() is not None:
            if self.fields is FIELDS:
                self.fields, self.line = list(OLDER), None
                self._start()
            else:
                self.process = None
            return None
        if self.line is None or time.monotonic() - self.seen > PATIENCE * max(self.interval, 1.0):
            return None
        values = [part.strip() for part in self.line.split(",")]
        if len(values) != len(self.fields):
            return None
        return {field: values[number] for number, field in enumerate(self.fields)}

    def end(self):
        """No nvidia-smi stays behind."""
        if self.process is not None and self.process.poll() is None:
            deadline.end(self.process)


def cpu(text):
    """[busy, all] ticks of all cores since the start, from /proc/stat; None where it cannot be read."""
    first = text.split("\n", 1)[0].split()
    if len(first) < 6 or first[0] != "cpu":
        return None
    ticks = [int(each) for each in first[1:9]]
    return [sum(ticks) - ticks[3] - ticks[4], sum(ticks)]


def available(text):
    """MemAvailable of /proc/meminfo in bytes, or None."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _text(path):
    try:
        with open(path, encoding="ascii") as handle:
            return handle.read()
    except OSError:
        return ""
