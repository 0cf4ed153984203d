"""What runs in a container, from /proc. Also sent to the workers as the program of their heartbeat."""

import json
import os
import sys
import threading
import time

#: What OpenMPI gives to each process of a rank, and nothing else has.
RANK_VARIABLE = b"OMPI_COMM_WORLD_RANK="
BEAT_S = 1.0


def ranks():
    """{pid: state letter} of every process of a rank here: R, S, D, T (stopped), Z (dead)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
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
