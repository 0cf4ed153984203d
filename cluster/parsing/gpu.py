"""What nvidia-smi prints. Nothing here reads GPU memory: GB10 prints `[N/A]` and `Not Supported` for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.facts import NO_NVIDIA_SMI, Container, GpuProcess

_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Gpu:
    """The GPU that ranks use, of `count` that are listed; or the `problem`, one line."""

    name: str = ""
    uuid: str = ""
    driver: str = ""
    count: int = 0
    problem: str = ""


def found(smi: Mapping[str, Any]) -> Gpu:
    """From `--query-gpu=index,name,uuid,driver_version`; where several are listed, the first GB10 counts."""
    rows = [[cell.strip() for cell in row.split(",")] for row in smi["out"].splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[2].startswith("GPU-")]
    if rows:
        _, name, uuid, driver = next((row for row in rows if "GB10" in row[1]), rows[0])
        return Gpu(name, uuid, driver, len(rows))
    if smi["rc"] == 127:
        return Gpu(problem=NO_NVIDIA_SMI)
    said = (smi["out"].strip() or smi["err"].strip()).split("\n")[0].strip()
    return Gpu(problem=said or f"exit code {smi['rc']}")


def cuda(version: str) -> str:
    """The driver's CUDA version, from `nvidia-smi --version` ("CUDA Version : 13.0")."""
    said = re.search(r"(?im)^CUDA Version\s*:\s*(\d[\d.]*)", version)
    return said.group(1) if said else ""


def processes(
    apps: str, cgroups: Mapping[str, str], containers: Mapping[str, Container]
) -> tuple[GpuProcess, ...]:
    """From `--query-compute-apps=pid,process_name`; the container by the process's cgroup."""
    listed = []
    for row in apps.splitlines():
        pid, _, name = (cell.strip() for cell in row.partition(","))
        if not pid.isdecimal():
            continue  # "[N/A]", or a sentence
        ids = _CONTAINER.findall(cgroups.get(pid, ""))
        inside = containers.get(ids[-1]) if ids else None
        listed.append(GpuProcess(int(pid), name, inside.name if inside else "", bool(inside and inside.ours)))
    return tuple(listed)
