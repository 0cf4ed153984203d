"""InfiniBand devices as NCCL finds them: sysfs, NCCL_IB_HCA, and opening uverbs for real.

A device counts when its port is ACTIVE, the filter lets it through, and its /dev/infiniband/uverbsN
opens; in a container without the device nodes that last step fails, exactly as on a Spark.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from .interfaces import Interface, Pattern
from .log import OPEN_CALL, OPEN_DEVICE, Log


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
            log.warn("Call to ibv_open_device failed", OPEN_CALL)
            log.warn(f"NET/IB : Unable to open device {device.name}", OPEN_DEVICE)
            continue
        for port in sorted(device.glob("ports/*")):
            number = int(port.name)
            if "ACTIVE" in _text(port / "state") and wanted.accepts(device.name, number):
                netdev = _netdev(device, port, present)
                found.append(Hca(device.name, number, netdev, port / "counters"))
    return found


@dataclass(frozen=True)
class Gid:
    """An entry of a port's GID table: an IPv6 address, or an IPv4 address written as one; `::` is none."""

    index: int
    address: str
    kind: str = "RoCE v2"

    @property
    def ipv4(self) -> IPv4Address | None:
        """The IPv4 address that it carries."""
        return IPv6Address(self.address).ipv4_mapped

    @property
    def there(self) -> bool:
        """Whether the table has one at this index."""
        return IPv6Address(self.address) != IPv6Address("::")

    @property
    def valid(self) -> bool:
        """NCCL's `validGid`: there, and not made from the MAC address."""
        return self.there and not IPv6Address(self.address).is_link_local

    @property
    def family(self) -> str:
        """What both ends of a connection must have in common."""
        return f"{self.kind} over {'IPv4' if self.ipv4 else 'IPv6'}"

    def __str__(self) -> str:
        return f"::ffff:{self.ipv4}" if self.ipv4 else str(IPv6Address(self.address))


ANY = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class GidChoice:
    """NCCL_IB_GID_INDEX (-1: not pinned), NCCL_IB_ROCE_VERSION_NUM, _ADDR_FAMILY and _ADDR_RANGE."""

    index: int = -1
    version: int = 2
    ipv4: bool = True
    network: IPv4Network = ANY

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> "GidChoice":
        """From the variables; NCCL ignores what it cannot read."""
        index = environment.get("NCCL_IB_GID_INDEX", "")
        version = environment.get("NCCL_IB_ROCE_VERSION_NUM", "")
        try:
            network = IPv4Network(environment.get("NCCL_IB_ADDR_RANGE", "") or str(ANY), strict=False)
        except ValueError:
            network = ANY
        return cls(
            int(index) if index.isdecimal() else -1,
            int(version) if version.isdecimal() else 2,
            environment.get("NCCL_IB_ADDR_FAMILY", "") != "AF_INET6",
            network,
        )

    def better(self, now: Gid, other: Gid) -> bool:
        """NCCL's `ncclUpdateGidIndex`: whether it goes from the one to the other."""
        right = (other.ipv4 is not None) is self.ipv4
        inside = other.ipv4 is None or other.ipv4 in self.network
        if right and inside and (now.ipv4 is not None) is not self.ipv4:
            return True
        if not right or not inside or not other.valid:
            return False
        return (now.kind != other.kind or not now.valid) and other.kind == f"RoCE v{self.version}"


def gid(hca: Hca, choice: GidChoice, machine: Machine | None = None) -> Gid:
    """The GID that NCCL takes: the pinned one, there or not, or the one that its rules end with.

    A port without a table (tests, and simulations of no more than names) is trusted.
    """
    machine = machine or Machine()
    port = machine.sys / f"class/infiniband/{hca.name}/ports/{hca.port}"
    if not (port / "gids").is_dir():
        return Gid(3 if choice.index < 0 else choice.index, "::ffff:0.0.0.1")
    table = {
        int(file.name): Gid(
            int(file.name),
            _text(file).strip() or "::",
            _text(port / "gid_attrs/types" / file.name).strip() or "RoCE v2",
        )
        for file in (port / "gids").iterdir()
    }
    if choice.index >= 0:
        return table.get(choice.index, Gid(choice.index, "::"))
    chosen = table.get(0, Gid(0, "::"))
    for index in sorted(set(table) - {0}):
        if choice.better(chosen, table[index]):
            chosen = table[index]
    return chosen


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
