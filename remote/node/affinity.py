"""Which CPUs the processes of our containers may run on, thread by thread, as the kernel tells any user."""

import os
import re

#: What a process is called here; every other one by its program's own short name.
NAMES = ("trtllm-serve", "mgmn_leader_node", "mgmn_worker_node")
#: A container of ours has some tens of processes and some hundreds of threads.
MOST_PROCESSES = 1000
MOST_THREADS = 10000
_ALLOWED = re.compile(r"(?m)^Cpus_allowed_list:\s*([0-9,-]+)$")
_ID = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"(?m)^Name:\s*(.*)$")


def read(containers, root="/proc"):
    """{container's id: [{"name", "cpus": {CPUs as in "0-3,7": threads}}]} of every process in them.

    A process's cgroup names its container. `root`: of procfs, for tests.
    """
    found: dict[str, list[dict[str, object]]] = {one: [] for one in containers if _ID.fullmatch(one)}
    for name in sorted((name for name in os.listdir(root) if name.isdecimal()), key=int):
        folder = os.path.join(root, name)
        cgroup = _text(folder + "/cgroup")
        mine = next((one for one in found if one in cgroup), None)
        if mine is None or len(found[mine]) >= MOST_PROCESSES:
            continue
        cpus = _threads(folder + "/task")
        if cpus:
            found[mine].append({"name": _name(folder), "cpus": cpus})
    return found


def _threads(folder):
    cpus: dict[str, int] = {}
    try:
        threads = os.listdir(folder)[:MOST_THREADS]
    except OSError:
        return {}  # it has just ended
    for thread in threads:
        allowed = _ALLOWED.search(_text("%s/%s/status" % (folder, thread)))
        if allowed:
            cpus[allowed.group(1)] = cpus.get(allowed.group(1), 0) + 1
    return cpus


def _name(folder):
    """Never more of a command line than one of NAMES: the rest may be secret."""
    words = _text(folder + "/cmdline").split("\0")
    for known in NAMES:
        if any(known in word for word in words) and "mpirun" not in words[0]:
            return known
    name = _NAME.search(_text(folder + "/status"))
    return name.group(1)[:16] if name else ""


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(1 << 16)
    except OSError:
        return ""
