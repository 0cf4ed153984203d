"""The system itself: release, memory, disks, groups, clock, locale, NVIDIA's container toolkit."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.facts import Disk, Memory, Place, Toolkit

#: adjtimex(2): the clock is kept right by nothing.
TIME_ERROR = 5
#: `Memory`'s fields but the last, as /proc/meminfo calls them.
_SIZES = (
    "MemTotal",
    "MemAvailable",
    "MemFree",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "CmaTotal",
    "CmaFree",
    "Shmem",
)
#: What /proc/meminfo says of all memory that is not a driver's. Shmem is a part of Cached.
_ACCOUNTED = (
    "MemFree",
    "Buffers",
    "Cached",
    "SwapCached",
    "AnonPages",
    "Slab",
    "KernelStack",
    "PageTables",
    "SecPageTables",
    "VmallocUsed",
    "Percpu",
)


def platform(text: str | None) -> str:
    """The pretty name and newest version of /etc/dgx-release: the last of repeated keys wins."""
    found = dict(re.findall(r'^(DGX_\w+)="?([^"\n]*)"?$', text or "", re.MULTILINE))
    version = found.get("DGX_OTA_VERSION") or found.get("DGX_SWBUILD_VERSION", "")
    return f"{found.get('DGX_PRETTY_NAME') or found.get('DGX_NAME', '')} {version}".strip()


def memory(text: str) -> Memory:
    """/proc/meminfo, in bytes."""
    kib = {name: int(number) for name, number in re.findall(r"(?m)^(\w+):\s+(\d+)", text)}
    kib.setdefault("SwapFree", kib.get("SwapTotal", 0))
    sizes = [kib.get(name, 0) for name in _SIZES]
    # Older listings are cut short: without AnonPages nobody can tell what is accounted for.
    told = sum(kib.get(name, 0) for name in _ACCOUNTED)
    told += kib.get("HugePages_Total", 0) * kib.get("Hugepagesize", 0)
    lost = max(0, kib["MemTotal"] - told) if "AnonPages" in kib and "MemTotal" in kib else 0
    return Memory(*(size * 1024 for size in (*sizes, lost)))


def disks(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Disk]:
    """statvfs's numbers, as a plain user may use them."""
    return {
        name: Disk(
            path=one["path"],
            mount=one["mount"],
            total=int(one["blocks"]) * int(one["frsize"]),
            free=int(one["bavail"]) * int(one["frsize"]),
            # Filesystems without a fixed number of inodes (btrfs) say that they have none.
            inodes_free=int(one["favail"]) if one["files"] else 1 << 62,
        )
        for name, one in raw.items()
    }


def places(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Place]:
    """Folders that are written to, as far as they are there."""
    return {
        name: Place(
            str(one["path"]),
            str(one["there"]),
            bool(one["folder"]),
            bool(one["writable"]),
            bool(one["read_only"]),
        )
        for name, one in raw.items()
    }


def last(command: Mapping[str, Any]) -> str:
    """The last line that a command said, of its errors first; sudo's word that it told somebody is none."""
    said = str(command.get("err") or "").strip() or str(command.get("out") or "").strip()
    lines = [line.strip() for line in said.splitlines()]
    return next((line for line in reversed(lines) if not line.startswith("This incident ")), "")


def groups(text: str, user: str, gid: int) -> tuple[str, ...]:
    """The user's groups as they are in /etc/group now."""
    return tuple(
        name for name, number, members in _groups(text) if user in members.split(",") or number == gid
    )


def login_groups(text: str, gids: Sequence[int]) -> tuple[str, ...]:
    """Names of the groups that the login has."""
    return tuple(name for name, number, _ in _groups(text) if number in gids)


def _groups(text: str) -> list[tuple[str, int, str]]:
    rows = [row.split(":") for row in text.splitlines()]
    return [(row[0], int(row[2]), row[3]) for row in rows if len(row) == 4 and row[2].isdecimal()]


def clock_offset(document: Mapping[str, Any], asked: tuple[float, float] | None) -> float | None:
    """Seconds the node is ahead of the operator, as far as the round trip lets one tell.

    The question left before it came, and the answer was given before it arrived: the offset lies between
    (answer given - answer arrived) and (question came - question left). Of these, the one nearest to 0.
    """
    if asked is None:
        return None
    before, after = asked
    low, high = document["time_after"] - after, document["time"] - before
    return float(min(max(0.0, low), high)) if low <= high else float(low + high) / 2


def locale(text: str | None, environment: str) -> str:
    """LANG, of the system's settings or else of the login."""
    found = re.search(r'(?m)^\s*LANG="?([^"\n]+?)"?\s*$', text or "")
    return found[1] if found else environment


def sockets(raw: Sequence[Sequence[Any]]) -> tuple[tuple[str, int], ...]:
    """(address, port) of every socket."""
    return tuple((str(address), int(port)) for address, port in raw)


def toolkit_version(out: str) -> str:
    """Of `nvidia-ctk --version`: "NVIDIA Container Toolkit CLI version 1.20.1", "… version v1.10.0"."""
    found = re.search(r"version v?(\d\S*)", out)
    return found[1] if found else ""


def toolkit(out: str, config: str | None) -> Toolkit:
    """Version, and what /etc/nvidia-container-runtime/config.toml says; a commented line says nothing."""
    try:
        found = tomllib.loads(config or "")
    except tomllib.TOMLDecodeError:
        found = {}
    runtime = found.get("nvidia-container-runtime")
    return Toolkit(
        version=toolkit_version(out),
        mode=str(runtime.get("mode", "")) if isinstance(runtime, dict) else "",
        swarm_resource=str(found.get("swarm-resource", "")),
        config=config is not None,
    )


def owner(record: str | None) -> str:
    """The stack in our record of what preparing changed; "" without one, or where it cannot be understood."""
    try:
        return str(json.loads(record or "{}").get("stack") or "")
    except (ValueError, AttributeError, RecursionError):
        return ""
