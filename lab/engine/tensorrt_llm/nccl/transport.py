"""Which network NCCL takes: NCCL_IB_DISABLE, NCCL_NET, NCCL_IB_*, NCCL_SOCKET_IFNAME.

Sockets are taken silently when no InfiniBand device works: only NCCL_DEBUG=INFO shows it.
"""

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import devices, interfaces
from .log import SYSTEM, USAGE, Log, NcclError

NO_PLUGIN = "Failed to initialize any NET plugin"
"""NCCL's word from 2.27 on when NCCL_NET names what is not there: recorded on a GB10 without RDMA devices."""
SUBNET_AWARE = (2, 30, 7)
"""The first release that knows NCCL_IB_SUBNET_AWARE_ROUTING (NVIDIA's playbook for three Sparks)."""
DEFAULT_GID_INDEX = 3
"""RoCE v2 over IPv4 on a ConnectX-7 with one address."""


@dataclass(frozen=True)
class Rail:
    """One way that data goes: a local address, and the counters of the adapter behind it."""

    address: str
    counters: Path | None = None
    network: str = ""
    """The subnet of the address; "" for sockets, which go wherever the kernel leads them."""
    device: str = ""
    gid: devices.Gid | None = None

    def failure(self, remote: str = "") -> str:
        """NCCL's line for a queue pair that does not come up."""
        index = DEFAULT_GID_INDEX if self.gid is None else self.gid.index
        return (
            "Call to ibv_modify_qp failed with 110 Connection timed out, "
            f"on dev {self.device}, curr state INIT, next state RTR, local GID index {index}, "
            f"local GID {self.gid or '::'}, remote GID {remote or '::'}"
        )


@dataclass(frozen=True)
class Transport:
    """The chosen network."""

    name: Literal["IB", "Socket"]
    rails: tuple[Rail, ...]
    by_subnet: bool = False
    """Whether it looks for the peer's device in the same subnet (rings), not only at the same place."""


def choose(
    environment: Mapping[str, str],
    log: Log,
    present: list[interfaces.Interface],
    machine: devices.Machine | None = None,
    version: str = "2.28.9",
) -> Transport:
    """Pick the transport of this rank, with NCCL's log lines.

    Raises:
        NcclError: no interface fits, or NCCL_NET asks for what is not there.
    """
    sockets = interfaces.choose(environment.get("NCCL_SOCKET_IFNAME"), present)
    if not sockets:
        log.warn("Bootstrap : no socket interface found")
        raise NcclError(USAGE)
    for name in sorted(environment):
        # NCCL_VERSION is the image's own, and no setting of NCCL's.
        if name.startswith("NCCL_") and name not in ("NCCL_DEBUG", "NCCL_VERSION"):
            log.info(f"{name} set by environment to {environment[name]}", "ENV")
    log.info(f"Bootstrap : Using {sockets[0]}", "INIT", "BOOTSTRAP")
    plugin = environment.get("NCCL_NET", "").lower()
    if plugin not in ("", "ib", "socket"):
        log.warn(NO_PLUGIN)
        raise NcclError(USAGE)
    disabled = environment.get("NCCL_IB_DISABLE", "0") not in ("", "0")
    if plugin != "socket" and not disabled:
        hcas = devices.find(environment.get("NCCL_IB_HCA"), present, log, machine)
        if hcas:
            _use(log, "IB", _infiniband_line(hcas, sockets[0]))
            asked = environment.get("NCCL_IB_SUBNET_AWARE_ROUTING", "0") not in ("", "0")
            aware = asked and _numbers(version) >= SUBNET_AWARE
            return Transport("IB", _rails(hcas, environment, log, machine), aware)
        log.info("NET/IB : No device found.", "INIT", "NET")
    if plugin == "ib":
        log.warn(NO_PLUGIN)
        raise NcclError(USAGE)
    listed = " ".join(f"[{i}]{interface}" for i, interface in enumerate(sockets))
    _use(log, "Socket", f"NET/Socket : Using {listed}")
    return Transport("Socket", tuple(Rail(interface.address) for interface in sockets))


def _use(log: Log, name: str, line: str) -> None:
    log.info(line, "INIT", "NET")
    log.info(f"Initialized NET plugin {name}")
    log.info(f"Assigned NET plugin {name} to comm")
    log.info(f"Using network {name}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split("."))


def _infiniband_line(hcas: list[devices.Hca], out_of_band: interfaces.Interface) -> str:
    listed = " ".join(f"[{i}]{hca}" for i, hca in enumerate(hcas))
    return f"NET/IB : Using {listed} [RO]; OOB {out_of_band}"


def _rails(
    hcas: list[devices.Hca],
    environment: Mapping[str, str],
    log: Log,
    machine: devices.Machine | None,
) -> tuple[Rail, ...]:
    """The addresses behind the devices; a queue pair cannot be made without a GID."""
    index = environment.get("NCCL_IB_GID_INDEX", "")
    rails = []
    for hca in hcas:
        chosen = int(index) if index.lstrip("-").isdigit() and int(index) >= 0 else None
        gid = devices.gid(hca, chosen, machine)
        device = f"{hca.name}:{hca.port}"
        if hca.netdev is None or gid is None:
            missing = devices.Gid(DEFAULT_GID_INDEX if chosen is None else chosen, "::")
            log.warn(Rail("", device=device, gid=missing).failure())
            raise NcclError(SYSTEM)
        rails.append(Rail(hca.netdev.address, hca.counters, hca.netdev.network, device, gid))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        # On a Spark ibv_reg_mr fails here. Simulated nodes may not be allowed to raise the limit.
        log.warn(f"NET/IB : RLIMIT_MEMLOCK is {soft // 1024} KiB, ibv_reg_mr may fail")
    return tuple(rails)
