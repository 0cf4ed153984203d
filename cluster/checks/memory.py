"""Checks of a node's memory before a start: what holds it, and what was swapped out."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.facts import Facts

GIB = 1 << 30
#: A Spark that only idles has over 90 % of its memory available.
LITTLE_MEMORY = 0.5
#: A kernel and its drivers keep some GiB for themselves; a killed engine leaves a model's size behind.
LEFT_BEHIND = 12 * GIB
#: Swap is on as shipped, and a few MiB of idle programs end there. This much has seen memory run out.
MUCH_SWAP = 4 * GIB


@check(
    "machine.memory",
    "While no rank of ours runs, at least half of the memory is available, and a killed engine has left "
    "nothing behind.",
    "Stop what holds it (`ps aux --sort -rss | head`), empty /dev/shm, or reboot.",
    "WARN",
    alone=True,
)
def memory(context: Context) -> Iterator[Finding]:
    """The GPU has no memory of its own."""
    for facts in context.nodes:
        if facts.ranks or not facts.ram.available or not context.settings.running:
            continue
        if facts.ram.shared > LEFT_BEHIND:
            held = f"{facts.ram.shared / GIB:.0f} GiB are files in /dev/shm or another tmpfs"
            todo = "Delete what an ended program left there: `ls -l /dev/shm` lists it."
        elif facts.ram.lost > LEFT_BEHIND and not facts.gpu_processes:
            held = f"{facts.ram.lost / GIB:.0f} GiB belong to no process, as after an engine that was killed"
            todo = "Reboot it: the driver gives them back only then."
        elif facts.ram.available < LITTLE_MEMORY * facts.ram.total:
            held, todo = (
                "",
                "The model shares them with whatever runs there: `ps aux --sort -rss | head` names it.",
            )
        else:
            continue
        yield Finding("WARN", facts.node, f"{_available(facts)}{f': {held}' if held else ''}.", todo)


def _available(facts: Facts) -> str:
    return f"only {facts.ram.available / GIB:.0f} of its {facts.ram.total / GIB:.0f} GiB memory are available"


@check(
    "machine.swap",
    "While no rank of ours runs, at most 4 GiB are swapped out.",
    "Stop what needs so much memory, then `sudo swapoff -a && sudo swapon -a`.",
    "WARN",
    alone=True,
)
def swap(context: Context) -> Iterator[Finding]:
    """Swap that is only on is a Spark as shipped. Much of it in use means that programs want more memory than
    there is beside a model, and come back for it while the model is loaded.
    """
    for facts in context.nodes:
        used = facts.ram.swap - facts.ram.swap_free
        if used > MUCH_SWAP and not facts.ranks and context.settings.running:
            yield Finding(
                "WARN",
                facts.node,
                f"{used / GIB:.0f} of its {facts.ram.swap / GIB:.0f} GiB swap are in use, although no "
                "model is loaded.",
                "Stop what needs that much memory (`ps aux --sort -rss | head`), then bring the rest back "
                "with `sudo swapoff -a && sudo swapon -a`: a model and programs that swap stop each other.",
            )
