"""InfiniBand devices as NCCL finds them: sysfs, NCCL_IB_HCA, and opening uverbs for real.

A device counts when its port is ACTIVE, the filter lets it through, and its /dev/infiniband/uverbsN
opens; in a container without the device nodes that last step fails, exactly as on a Spark.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
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
    """The usable devices by PCI address, with NCCL's warnings for those that do not open."""
    machine = machine or Machine()
    wanted = Pattern.parse(pattern or "")
    found = []
    root = machine.sys / "class/infiniband"
    for device in sorted(root.iterdir(), key=_pci_order) if root.is_dir() else []:
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


@dataclass(frozen=True)
class Gid:
    """An entry of a port's GID table: an IPv6 address, or an IPv4 address written as one."""

    index: int
    address: str
    kind: str = "RoCE v2"

    @property
    def family(self) -> str:
        """What both ends of a connection must have in common."""
        return f"{self.kind} over {'IPv4' if ':ffff:' in self.address else 'IPv6'}"

    def __str__(self) -> str:
        address = IPv6Address(self.address)
        mapped = address.ipv4_mapped
        return f"::ffff:{mapped}" if mapped else str(address)


def gid(hca: Hca, index: int | None, machine: Machine | None = None) -> Gid | None:
    """The port's GID at that index, or by default its first of RoCE v2 over IPv4; None: there is none.

    A port without a table (tests, and simulations of no more than names) is trusted.
    """
    machine = machine or Machine()
    port = machine.sys / f"class/infiniband/{hca.name}/ports/{hca.port}"
    if not (port / "gids").is_dir():
        return Gid(3 if index is None else index, "::ffff:0.0.0.1")
    table = [
        Gid(int(file.name), text, _text(port / "gid_attrs/types" / file.name).strip() or "RoCE v2")
        for file in sorted((port / "gids").iterdir(), key=lambda file: int(file.name))
        if (text := _text(file).strip()).strip("0:")
    ]
    for entry in table:
        if entry.index == index or (index is None and entry.family == "RoCE v2 over IPv4"):
            return entry
    return None


def _pci_order(device: Path) -> tuple[str, str]:
    """The kernel lists devices as it found them on PCI, whatever udev calls them."""
    slot = (device / "device").resolve().name
    if re.fullmatch(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.\d", slot):
        return slot, device.name
    for path in (*device.glob("ports/1/gid_attrs/ndevs/*"), *device.glob("device/net/*")):
        name = _text(path).strip() if path.parent.name == "ndevs" else path.name
        if found := re.match(r"en(?:P(\d+))?p(\d+)s(\d+)f(\d+)", name):
            domain, bus, number, function = found.groups()
            return f"{int(domain or 0):04x}:{int(bus):02x}:{int(number):02x}.{function}", device.name
    found = re.fullmatch(r"roce(?:P(\d+))?p(\d+)s(\d+)f(\d+)", device.name)
    domain, bus, number, function = found.groups() if found else ("", "0", "0", "0")
    return f"{int(domain or 0):04x}:{int(bus):02x}:{int(number):02x}.{function}", device.name


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
