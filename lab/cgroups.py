"""A control group for every node: it is the root of the node's own view, and holds all it starts.

That makes ending a node safe: whatever is in its group is the node's, nothing else is.
"""

import os
import signal
from pathlib import Path

from lab.waiting import until

MOUNT = Path("/sys/fs/cgroup")


def hierarchies() -> dict[str, str]:
    """Return {folder under /sys/fs/cgroup: mount options}; {"": ""} is a single cgroup v2 tree."""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and Path(where) == MOUNT:
            return {"": ""}
        if kind in {"cgroup", "cgroup2"} and Path(where).parent == MOUNT:
            # The generic options of a mount say nothing about which controllers it has.
            own = [word for word in options.split(",") if word not in _GENERIC]
            named = [word for word in own if word.startswith("name=")]
            found[Path(where).name] = ",".join(["none", *named] if named else own)
    return found


_GENERIC = {"rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr", "nsdelegate"}


def _folders(group: str) -> list[Path]:
    return [MOUNT / hierarchy / group for hierarchy in hierarchies()]


LEAF = "init.scope"
"""Where a node's own processes are in a cgroup v2 tree: next to its containers, not above them."""


def create(group: str) -> list[Path]:
    """Make `group` (LAB/NODE) in every hierarchy; return the files that take a process's id."""
    for folder in _folders(group):
        for level in (folder.parent, folder):
            level.mkdir(exist_ok=True)
            _inherit_cpuset(level)
        _hand_on_controllers(folder.parent)
    return [folder / "cgroup.procs" for folder in _folders(group)]


def join(group: str) -> None:
    """Move this process into a node's group."""
    for folder in _folders(group):
        leaf = folder / LEAF
        (leaf if leaf.exists() else folder).joinpath("cgroup.procs").write_text(str(os.getpid()))


def _hand_on_controllers(folder: Path) -> None:
    """Below a folder of cgroup v2 there are only the controllers that it hands on."""
    offered = folder / "cgroup.controllers"
    if offered.exists():
        words = " ".join(f"+{name}" for name in offered.read_text().split())
        (folder / "cgroup.subtree_control").write_text(words)


def _inherit_cpuset(folder: Path) -> None:
    """A new cpuset of cgroup v1 has no processor and takes no process until it is given some."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if folder.parts[4:5] == ("cpuset",) and not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())


def processes(group: str) -> set[int]:
    """Return the ids of all processes in `group` and the groups below it."""
    found: set[int] = set()
    for folder in _folders(group):
        for path, _, _ in os.walk(folder):
            try:
                found.update(map(int, Path(path, "cgroup.procs").read_text().split()))
            except OSError:  # the group went away meanwhile
                continue
    return found - {0}


def kill(group: str, deadline: float = 20.0) -> None:
    """SIGKILL everything in `group` and wait until it is empty.

    Raises:
        LabError: something is left after `deadline` seconds.
    """

    def left() -> str | None:
        pids = processes(group)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return f"processes {sorted(pids)[:10]}" if pids else None

    until(left, f"the processes of {group} to end", deadline, pause=0.02, hint="See `ps -o pid,stat,args`.")


def remove(group: str, deadline: float = 10.0) -> None:
    """Remove `group` and the groups below it; they have to be empty.

    Raises:
        LabError: one is still busy after `deadline` seconds.
    """

    def left() -> str | None:
        busy = None
        for folder in _folders(group):
            for path, _, _ in os.walk(folder, topdown=False):
                try:
                    Path(path).rmdir()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    busy = f"{path}: {error.strerror}"
        return busy

    until(left, f"the control groups of {group} to go", deadline, hint="Their files say who is in.")
