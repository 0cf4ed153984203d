"""Why a rank's container ended: rank 0's exit codes (remote/rank0/codes.py) and the kernel's, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.engine_causes import MEMORY_JOURNAL


@dataclass(frozen=True)
class Exit:
    """What a code means, and what to do; no `todo`: nothing is wrong."""

    means: str
    todo: str = ""


#: A test compares the first ones' words with the program that runs in the container.
EXITS: Mapping[int, Exit] = {
    0: Exit("asked to stop"),
    70: Exit("trtllm-serve has ended and its launcher goes on", "the cause is in the lines before"),
    71: Exit(
        "another program has the API's port",
        "`sudo ss -ltnp` on the head names it; stop it, or `pulumi config set port …`",
    ),
    72: Exit("a rank's process has ended", "that rank's own error is in the lines before"),
    73: Exit("a rank hangs", "look for the first rank that fell silent, and at the cables"),
    74: Exit(
        "a worker cannot be reached",
        "is it on, and its Docker and sshd? `trtspark doctor` looks at all nodes",
    ),
    75: Exit(
        "no answer within readyTimeout",
        "`pulumi config set readyTimeout 3600` where the model is large and its disk slow",
    ),
    76: Exit("the engine says that it is gone", "the cause is in the lines before"),
    77: Exit(
        "the engine fails every completion",
        "its own words are in the line before; `trtspark logs` explains what it knows of them",
    ),
    78: Exit(
        "the server has ended, though nobody asked for it",
        f"if nobody ended it by hand, {MEMORY_JOURNAL} on the head tells who did",
    ),
    # 128 and a signal: mpirun's, of a rank that ended so, or a program's own.
    134: Exit("aborted by its own code", "its own error is in the lines before"),
    135: Exit(
        "a bus error, most often because /dev/shm is full",
        "`docker service update --force trtspark-STACK-rank-N` on the head empties it",
    ),
    139: Exit(
        "crashed in its own code (a segmentation fault)",
        "most often the image: see whether it is known for that (docs/images.md), and set another",
    ),
    137: Exit(
        "killed, by `docker kill` or by the kernel because memory ran out",
        f"{MEMORY_JOURNAL} on the node tells; then lower gpuMemoryFraction",
    ),
    # Rank 0 ends with 0 when it is asked to stop, and Swarm does not call what it stopped itself failed.
    143: Exit(
        "ended from outside, though nobody asked for it: by earlyoom, systemd-oomd or a `kill` by hand",
        f"{MEMORY_JOURNAL} on the node names who did it; if memory ran short, lower gpuMemoryFraction",
    ),
}


def explained(code: int) -> str:
    """One sentence on an exit code; "" for one that says nothing by itself."""
    known = EXITS.get(code)
    if known is None:
        return ""
    return f"{known.means}: {known.todo}" if known.todo else known.means
