"""Checks of the machines themselves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.facts import Disk

GIB = 1 << 30
#: NVIDIA's TensorRT-LLM image unpacked, and while it is being unpacked: about 30 GB and some room.
IMAGE_ROOM = 40 * GIB
#: Below this Docker cannot even write a container's log.
NO_ROOM, NO_INODES = 1 * GIB, 5000


@check(
    "machine.twice",
    "Each Spark is listed once.",
    "Take one of the two entries out of nodes.",
)
def same_machine(context: Context) -> Iterator[Finding]:
    """Two addresses that lead to one GPU."""
    seen: dict[str, str] = {}
    for facts in context.nodes:
        if not facts.gpu_uuid:
            continue
        if facts.gpu_uuid in seen:
            yield Finding(
                "FAIL",
                "",
                f"{facts.node} and {seen[facts.gpu_uuid]} are the same machine ({facts.hostname}, "
                f"{facts.gpu_uuid}).",
                "List each Spark once under nodes.",
            )
        seen.setdefault(facts.gpu_uuid, facts.node)


@check(
    "machine.spark",
    "Each node is a DGX Spark: /etc/dgx-release is there, and the GPU is a GB10.",
    "Nothing needs to be done where you know that it is like one.",
    "WARN",
    alone=True,
)
def spark(context: Context) -> Iterator[Finding]:
    """Another system, or another GPU: what is known of memory, cable and versions may not hold."""
    for facts in context.nodes:
        if facts.gpu_name and not (facts.platform and "GB10" in facts.gpu_name):
            what = f"{facts.gpu_name}, {facts.platform or 'no /etc/dgx-release'}"
            yield Finding(
                "WARN",
                facts.node,
                f"it does not look like a DGX Spark ({what}).",
                "Defaults for memory and network are made for one: look at them before you rely on them.",
            )


@check(
    "machine.host-names",
    "No two nodes have one host name.",
    "`sudo hostnamectl set-hostname NAME` on one of the two.",
    "WARN",
)
def host_names(context: Context) -> Iterator[Finding]:
    """Everything works, but nobody can read who said what."""
    names: dict[str, list[str]] = {}
    for facts in context.nodes:
        names.setdefault(facts.hostname, []).append(facts.node)
    # One machine that is listed twice is another check's.
    uuids = {facts.node: facts.gpu_uuid or facts.node for facts in context.nodes}
    for name, nodes in names.items():
        if len({uuids[node] for node in nodes}) > 1:
            yield Finding(
                "WARN",
                "",
                f"{', '.join(nodes)} all have the host name {name}.",
                "`docker node ls` and NCCL's log tell nodes by it: give one of them another with "
                "`sudo hostnamectl set-hostname NAME`.",
            )


@check(
    "machine.kernel",
    "Where ranks talk over RDMA, the kernel counts its memory right (CmaFree is not above CmaTotal).",
    "Boot with kho=off (NVIDIA's package nvidia-spark-grub-kho sets it), or boot another kernel.",
    alone=True,
)
def kernel(context: Context) -> Iterator[Finding]:
    """Kernels that keep memory for the next one (Kexec HandOver) may hand it out as CMA, and then none can
    be registered for RDMA: `ibv_reg_mr_iova2 … Cannot allocate memory` when NCCL starts (NVIDIA's advisory
    of September 2026). Some versions are broken with kho=off, others are fine without it.
    """
    if len(context.settings.active_nodes) == 1:
        return
    for facts in context.nodes:
        total, free = facts.ram.cma_total, facts.ram.cma_free
        if free <= total or not any(hca.usable for hca in facts.hcas):
            continue
        todo = (
            "Run there `sudo apt-get install nvidia-spark-grub-kho` (or add kho=off to the kernel's command "
            "line), and reboot."
        )
        if "kho=off" in facts.cmdline.split():
            todo = (
                "kho=off is set already: install the newest kernel with `sudo apt update && sudo apt "
                "full-upgrade`, or boot an older one, and reboot."
            )
        yield Finding(
            "FAIL",
            facts.node,
            f"its kernel {facts.kernel} gives RDMA no memory (/proc/meminfo has CmaFree "
            f"{free // 1024} kB, CmaTotal {total // 1024} kB).",
            todo,
        )


@check(
    "gpu.others",
    "No other program uses the GPU.",
    "Stop the others before a large model is loaded.",
    "WARN",
    alone=True,
)
def others(context: Context) -> Iterator[Finding]:
    """What they hold of the shared memory is not there for the model."""
    for facts in context.nodes:
        found = [one for one in facts.gpu_processes if not one.ours]
        if found and context.settings.running:
            listed = ", ".join(
                f"{one.name} ({f'container {one.container}' if one.container else f'process {one.pid}'})"
                for one in found[:4]
            )
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            yield Finding(
                "WARN",
                facts.node,
                f"its GPU is in use by {listed}{more}.",
                "GPU and system share one memory: stop what the model's should be.",
            )


@check(
    "machine.home",
    "The user's home folder is there, and the user may write to it.",
    "`sudo install -d -o USER -m 755 HOME`, or `sudo chown USER: HOME`.",
    alone=True,
)
def home(context: Context) -> Iterator[Finding]:
    """ssh's files for the ranks, and those of jobs that go on without us, are in it."""
    for facts in context.nodes:
        place = facts.places.get("home")
        if place is None or (place.there == place.path and place.folder and place.writable):
            continue
        path = shlex.quote(place.path)
        if place.there != place.path:
            found, todo = "is not there", f"Run there `sudo install -d -o {facts.user} -m 755 {path}`."
        elif not place.folder:
            found, todo = "is not a folder", f"Look at it with `ls -l {path}`, and make a folder of it."
        elif place.read_only:
            found, todo = "is on a read-only file system", "Mount it so that it can be written."
        else:
            found = "is not the user's to write to"
            todo = f"Run there `sudo chown {facts.user}: {path}`."
        yield Finding("FAIL", facts.node, f"the home of user {facts.user}, {place.path}, {found}.", todo)


@check(
    "machine.disk",
    "Docker's disk has room for the image (40 GiB) where it is not there yet.",
    "`docker system df` says what takes it.",
    "FAIL",
    "WARN",
    alone=True,
)
def disk(context: Context) -> Iterator[Finding]:
    """Full, or without room for another image. The weights' room is another check's."""
    for facts in context.nodes:
        found = facts.disks.get("containerd" if facts.docker.storage == "overlayfs" else "docker")
        if found is None or facts.docker.problem:
            continue
        if found.free < NO_ROOM or found.inodes_free < NO_INODES:
            yield Finding(
                "FAIL",
                facts.node,
                f"the disk of {found.path} is full ({_left(found)}).",
                "`docker system df` says what Docker has, `docker image prune` makes room.",
            )
        elif found.free < IMAGE_ROOM and context.settings.pull_image and not facts.ranks:
            yield Finding(
                "WARN",
                facts.node,
                f"the disk of {found.path} has {_left(found)}.",
                "The image takes about 30 GB where it is not there yet: `docker system df` says what can go.",
            )


def _left(found: Disk) -> str:
    return f"{found.free / GIB:.1f} GiB and {found.inodes_free} inodes left"
