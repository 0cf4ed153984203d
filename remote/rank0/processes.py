"""What runs in a container, from /proc. Also sent to the workers as the program of their heartbeat."""

import json
import os
import sys
import threading
import time

#: What OpenMPI gives to each process of a rank, and nothing else has.
RANK_VARIABLE = b"OMPI_COMM_WORLD_RANK="
BEAT_S = 1.0
#: The kernel's scale goes from -1000 (never) to 1000 (first), as a share of all memory in thousandths. The
#: weights are the driver's and not in a rank's own memory, so less might leave another program the larger.
FIRST_TO_END = 1000


def ranks():
    """{pid: state letter} of every process of a rank here: R, S, D, T (stopped), Z (dead)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open("/proc/%s/environ" % name, "rb") as handle:
                if RANK_VARIABLE not in handle.read():
                    continue
        except OSError:
            continue  # it has just ended
        found[int(name)] = state(int(name))
    return {pid: letter for pid, letter in found.items() if letter}


def state(pid):
    """A process's state letter, as in `ranks`; "" when it has ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rpartition(b") ")[2][:1].decode()
    except OSError:
        return ""


def end_first(pid):
    """Let the kernel end `pid`, and what it starts from now on, before everything else when memory runs out:
    before sshd and dockerd, and before our own watch, which says what happened. Raising needs no privilege.
    """
    try:
        with open("/proc/%d/oom_score_adj" % pid, "w", encoding="ascii") as handle:
            handle.write(str(FIRST_TO_END))
    except OSError as error:
        print("[trtspark] oom_score_adj of the server cannot be set: %s" % error, flush=True)


def beat():
    """Print the states every second, until nobody reads any more."""

    def lifeline():
        sys.stdin.buffer.read()
        os._exit(0)  # the head is gone, or does not want to hear more

    threading.Thread(target=lifeline, daemon=True).start()
    while True:
        print(json.dumps(sorted(ranks().values())), flush=True)
        time.sleep(BEAT_S)


if __name__ == "__main__":
    beat()
