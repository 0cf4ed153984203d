"""Which network NCCL takes: NCCL_IB_DISABLE, NCCL_NET, NCCL_IB_*, NCCL_SOCKET_IFNAME.

Sockets are taken silently when no InfiniBand device works: only NCCL_DEBUG=INFO shows it.
"""

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import devices, interfaces
from .log import MODIFY_QP, NO_INTERFACE, NO_PLUGIN, SYSTEM, USAGE, Log, NcclError

SUBNET_AWARE = (2, 30, 7)
"""The first release that knows NCCL_IB_SUBNET_AWARE_ROUTING (NVIDIA's playbook for three Sparks)."""
NO_DATA, TIMED_OUT = "61 No data available", "110 Connection timed out"
"""What the kernel answers for a GID that is not in the table, and for a peer that it cannot resolve."""


@dataclass(frozen=True)
class Rail:
    """One way that data goes: a local address, and the counters of the adapter behind it."""

    address: str
    counters: Path | None = None
    network: str = ""
    """The subnet of the address; "" for sockets, which go wherever the kernel leads them."""
    device: str = ""
    gid: devices.Gid | None = None

    def failure(self, remote: str = "", why: str = TIMED_OUT) -> str:
        """NCCL's line for a queue pair that does not come up."""
        index = "-1" if self.gid is None else self.gid.index
        return (
            f"Call to ibv_modify_qp failed with {why}, "
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
) -> Transport:
    """Pick the transport of this rank, with NCCL's log lines.

    Raises:
        NcclError: no interface fits, or NCCL_NET asks for what is not there.
    """
    _show_environment(environment, log)
    sockets = interfaces.choose(environment.get("NCCL_SOCKET_IFNAME"), present)
    if not sockets:
        log.warn("Bootstrap : no socket interface found", NO_INTERFACE)
        raise NcclError(USAGE)
    log.info(f"Bootstrap: Using {sockets[0]}", "BOOTSTRAP")
    plugin = environment.get("NCCL_NET", "").lower()
    if plugin not in ("", "ib", "socket"):
        log.warn("Failed to initialize any NET plugin", NO_PLUGIN)
        raise NcclError(USAGE)
    disabled = environment.get("NCCL_IB_DISABLE", "0") not in ("", "0")
    if plugin != "socket":
        hcas = [] if disabled else devices.find(environment.get("NCCL_IB_HCA"), present, log, machine)
        if not disabled:
            if not hcas:
                log.info("NET/IB : No device found.", "INIT", "NET")
            # Printed even when there is none.
            log.info(_infiniband_line(hcas, sockets[0]), "INIT", "NET")
        if hcas:
            _use(log, "IB")
            asked = environment.get("NCCL_IB_SUBNET_AWARE_ROUTING", "0") not in ("", "0")
            aware = asked and log.version >= SUBNET_AWARE
            return Transport("IB", _rails(hcas, environment, log, machine), aware)
        if log.version >= (2, 28):
            log.info("Failed to initialize NET plugin IB", "INIT", "NET")
    if plugin == "ib":
        log.warn("Failed to initialize any NET plugin", NO_PLUGIN)
        raise NcclError(USAGE)
    listed = " ".join(f"[{i}]{interface}" for i, interface in enumerate(sockets))
    log.info(f"NET/Socket : Using {listed}", "INIT", "NET")
    _use(log, "Socket")
    return Transport("Socket", tuple(Rail(interface.address) for interface in sockets))


def _show_environment(environment: Mapping[str, str], log: Log) -> None:
    """A number's line ends with a full stop, a text's does not."""
    for name, value in sorted(environment.items()):
        if name.startswith("NCCL_") and not name.startswith("NCCL_DEBUG"):
            end = "." if value.lstrip("-").isdecimal() else ""
            log.info(f"{name} set by environment to {value}{end}", "ENV")


def _use(log: Log, name: str) -> None:
    log.info(f"Initialized NET plugin {name}", "INIT", "NET")
    log.info(f"Assigned NET plugin {name} to comm", "INIT", "NET")
    log.info(f"Using network {name}")


def _infiniband_line(hcas: list[devices.Hca], out_of_band: interfaces.Interface) -> str:
    listed = "".join(f" [{i}]{hca}" for i, hca in enumerate(hcas))
    return f"NET/IB : Using{listed} [RO]; OOB {out_of_band}"


def _rails(
    hcas: list[devices.Hca],
    environment: Mapping[str, str],
    log: Log,
    machine: devices.Machine | None,
) -> tuple[Rail, ...]:
    """The addresses behind the devices, each with the GID that NCCL takes at this start.

    NCCL does not ask whether a pinned index has a GID: the queue pair fails later (see Ring).
    """
    choice = devices.GidChoice.parse(environment)
    rails = []
    for hca in hcas:
        gid = devices.gid(hca, choice, machine)
        device = f"{hca.name}:{hca.port}"
        if hca.netdev is None:
            log.warn(Rail("", device=device, gid=gid).failure(why=NO_DATA), MODIFY_QP)
            raise NcclError(SYSTEM)
        rails.append(Rail(hca.netdev.address, hca.counters, hca.netdev.network, device, gid))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        # On a Spark ibv_reg_mr fails here. Simulated nodes may not be allowed to raise the limit.
        log.info(f"simulated NCCL: RLIMIT_MEMLOCK is {soft // 1024} KiB, ibv_reg_mr may fail", "NET")
    return tuple(rails)
