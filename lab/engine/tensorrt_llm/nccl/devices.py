"""InfiniBand devices as NCCL finds them: sysfs, NCCL_IB_HCA, and opening uverbs for real.

A device counts when its port is ACTIVE, the filter lets it through, and its /dev/infiniband/uverbsN
opens; in a container without the device nodes that last step fails, exactly as on a Spark.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .interfaces import Interface, Pattern
from .log import Log


@dataclass(frozen=True)
class Hca:
    """An opened device port and the network interface behind it."""

    name: str
    port: int
    netdev: Interface | None
    counters: Path  # the folder with the port's traffic counters

    def __str__(self) -> str:
        return f"{self.name}:{self.port}/RoCE"


@dataclass(frozen=True)
class Machine:
    """Where devices are looked for; tests put a folder of their own here."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


def find(
    pattern: str | None, present: list[Interface], log: Log, machine: Machine | None = None
) -> list[Hca]:
    """The usable devices in sysfs order, with NCCL's warnings for those that do not open."""
    machine = machine or Machine()
    wanted = Pattern.parse(pattern or "")
    found = []
    root = machine.sys / "class/infiniband"
    for device in sorted(root.iterdir()) if root.is_dir() else []:
        node = _uverbs(machine, device.name)
        try:
            os.close(os.open(node, os.O_RDWR))
        except OSError:
            log.warn("Call to ibv_open_device failed")
            log.warn(f"NET/IB : Unable to open device {device.name}")
            continue
        for port in sorted(device.glob("ports/*")):
            number = int(port.name)
            if "ACTIVE" in _text(port / "state") and wanted.accepts(device.name, number):
                netdev = _netdev(device, port, present)
                found.append(Hca(device.name, number, netdev, port / "counters"))
    return found


def gid_works(hca: Hca, index: int, machine: Machine | None = None) -> bool:
    """Whether the port's GID table has an address at that index (unknown tables are trusted)."""
    machine = machine or Machine()
    table = machine.sys / f"class/infiniband/{hca.name}/ports/{hca.port}/gids"
    if not table.is_dir():
        return True
    gid = _text(table / str(index))
    return bool(gid.strip("0:\n"))


def _uverbs(machine: Machine, device: str) -> Path:
    """The device node of an HCA, by sysfs or else by the order of names."""
    for entry in machine.sys.glob("class/infiniband_verbs/uverbs*"):
        if _text(entry / "ibdev").strip() == device:
            return machine.dev / "infiniband" / entry.name
    order = sorted(path.name for path in (machine.sys / "class/infiniband").iterdir())
    return machine.dev / "infiniband" / f"uverbs{order.index(device)}"


def _netdev(device: Path, port: Path, present: list[Interface]) -> Interface | None:
    """The interface of a RoCE port: by its GIDs' netdev, by the PCI device, or by its name.

    udev names a Spark's devices alike: rocep1s0f0 is enp1s0f0np0, roceP2p1s0f0 is enP2p1s0f0np0.
    """
    names = [_text(path).strip() for path in sorted(port.glob("gid_attrs/ndevs/*"))]
    names += [path.name for path in sorted(device.glob("device/net/*"))]
    names.append(re.sub(r"^roce(.*)f(\d+)$", r"en\1f\2np\2", device.name))
    by_name = {interface.name: interface for interface in present}
    return next((by_name[name] for name in names if name in by_name), None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
