"""Room for the load: cached pages of other files are dropped where the GPU would miss them.

On a GB10 the GPU's free memory is MemFree, not MemAvailable: pages of files read before count as used, and
a load fails that would fit. posix_fadvise(DONTNEED) drops a file's clean pages and needs no root.
"""

import importlib.resources
import json
import os
import shlex
import subprocess
import sys

from . import files
from .codes import say

HUB = "/root/.cache/huggingface/hub"
TIMEOUT_S = 60
BY_HAND = "sudo sh -c 'sync; echo 3 > /proc/sys/vm/drop_caches'"
GIB = 1 << 30


def make(launch, model):
    """On every rank's node, before the load; says what it did. `launch["needs"]`: bytes a rank loads."""
    needs = launch.get("needs", 0)
    if not needs:
        return
    source = importlib.resources.files(__package__).joinpath("room.py").read_text("utf-8")
    words = ["python3", "-c", _alone(source), str(needs), model]
    running = {
        "rank 0": subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    }
    for peer in launch["ranks"][1:]:
        running["rank %(rank)d" % peer] = subprocess.Popen(
            files.ssh(peer["address"], shlex.join(words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    for rank, child in running.items():
        try:
            before, after = json.loads(child.communicate(timeout=TIMEOUT_S)[0])
        except (ValueError, subprocess.TimeoutExpired):
            child.kill()
            say("%s: its page cache could not be looked at" % rank)
            continue
        if before < needs:
            say(
                "%s: %.1f GiB were free for %.1f; dropped other files' pages: %.1f GiB are free now"
                % (rank, before / GIB, needs / GIB, after / GIB)
            )
        if after < needs:
            say("%s: too little for the load; on the node, %s frees what else is cached" % (rank, BY_HAND))


def _alone(source):
    """This module as a program of its own, without its package."""
    return "\n".join(line for line in source.splitlines() if not line.startswith("from ."))


def free():
    """MemFree in bytes."""
    with open("/proc/meminfo", encoding="ascii") as handle:
        rows = dict(line.split(":", 1) for line in handle)
    return int(rows["MemFree"].split()[0]) * 1024


def drop(folder, model):
    """Drop the clean pages of every file under `folder` that is not the model's own."""
    own = os.path.realpath(os.path.join(folder, "models--" + model.replace("/", "--")))
    kept = {os.path.realpath(os.path.join(at, name)) for at, _, names in os.walk(own) for name in names}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            if os.path.islink(path) or path in kept:
                continue
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def look(needs, model):
    """[MemFree before, MemFree after]; pages are only dropped when it is less than `needs`."""
    before = after = free()
    if before < needs:
        drop(HUB, model)
        after = free()
    return [before, after]


if __name__ == "__main__":
    print(json.dumps(look(int(sys.argv[1]), sys.argv[2])))
