"""Whether the threads of a rank may run on every core that its container has.

mpirun binds the ranks of a job of one or two to one core each unless it is told not to, and threads inherit
that. TensorRT-LLM frees a process's main thread alone: its worker thread, NCCL's proxies and the loaders stay
where they are (https://github.com/NVIDIA/TensorRT-LLM/issues/18847), and every token is slower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: What to do about it. Ranks are started with --bind-to none: what still binds them is in the image.
TODO = (
    "Run `pulumi up`, which starts the ranks anew with --bind-to none. If it stays, look for a binding "
    "policy (hwloc_base_binding_policy, OMP_PROC_BIND, taskset) in the image."
)
_CPUS = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")


def confined(processes: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong, as the part of a sentence; "" when every thread may use every CPU of its container.

    `processes`: what remote/node/affinity.py found in one container. The container's CPUs are those of the
    thread that may use most: its first process is started by Docker, and nothing binds it.
    """
    threads = [
        (str(one.get("name") or "a process"), text, count, count_of(text))
        for one in processes
        for text, count in (one.get("cpus") or {}).items()
        if isinstance(count, int) and count_of(text)
    ]
    if not threads:
        return ""
    most = max(threads, key=lambda one: one[3])
    bound = [one for one in threads if one[3] < most[3]]
    if not bound:
        return ""
    number, total = sum(one[2] for one in bound), sum(one[2] for one in threads)
    names = ", ".join(dict.fromkeys(one[0] for one in bound))
    cpus = " or ".join(sorted({one[1] for one in bound})[:3])
    return f"{number} of {total} threads may only run on CPU {cpus}, not on all of {most[1]} ({names[:200]})"


def count_of(text: str) -> int:
    """How many CPUs a list like "0-3,7" has; 0 when it is none."""
    if len(text) > 1000 or not _CPUS.fullmatch(text):
        return 0
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return sum(max(0, part[-1] - part[0] + 1) for part in ends)
