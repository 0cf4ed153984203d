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

DEFAULT_GID_INDEX = 3
"""RoCE v2 over IPv4 on a ConnectX-7 with one address."""


@dataclass(frozen=True)
class Rail:
    """One way that data goes: a local address, and the counters of the adapter behind it."""

    address: str
    counters: Path | None = None


@dataclass(frozen=True)
class Transport:
    """The chosen network."""

    name: Literal["IB", "Socket"]
    rails: tuple[Rail, ...]


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
    sockets = interfaces.choose(environment.get("NCCL_SOCKET_IFNAME"), present)
    if not sockets:
        log.warn("Bootstrap : no socket interface found")
        raise NcclError(USAGE)
    log.info(f"Bootstrap : Using {sockets[0]}")
    plugin = environment.get("NCCL_NET", "").lower()
    if plugin not in ("", "ib", "socket"):
        log.warn(f"Error: network {environment['NCCL_NET']} not found.")
        raise NcclError(USAGE)
    disabled = environment.get("NCCL_IB_DISABLE", "0") not in ("", "0")
    if plugin != "socket" and not disabled:
        hcas = devices.find(environment.get("NCCL_IB_HCA"), present, log, machine)
        if hcas:
            _use(log, "IB", _infiniband_line(hcas, sockets[0]))
            return Transport("IB", _rails(hcas, environment, log, machine))
        log.info("NET/IB : No device found.")
    if plugin == "ib":
        log.warn("Error: network IB not found.")
        raise NcclError(USAGE)
    listed = " ".join(f"[{i}]{interface}" for i, interface in enumerate(sockets))
    _use(log, "Socket", f"NET/Socket : Using {listed}")
    return Transport("Socket", tuple(Rail(interface.address) for interface in sockets))


def _use(log: Log, name: str, line: str) -> None:
    log.info(line)
    log.info(f"Initialized NET plugin {name}")
    log.info(f"Assigned NET plugin {name} to comm")
    log.info(f"Using network {name}")


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
        gid = chosen is None or devices.gid_works(hca, chosen, machine)
        if hca.netdev is None or not gid:
            log.warn(
                "Call to ibv_modify_qp failed with 110 Connection timed out, "
                f"on dev {hca.name}:{hca.port}, curr state INIT, next state RTR, "
                f"local GID index {DEFAULT_GID_INDEX if chosen is None else chosen}"
            )
            raise NcclError(SYSTEM)
        rails.append(Rail(hca.netdev.address, hca.counters))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        # On a Spark ibv_reg_mr fails here. Simulated nodes may not be allowed to raise the limit.
        log.warn(f"NET/IB : RLIMIT_MEMLOCK is {soft // 1024} KiB, ibv_reg_mr may fail")
    return tuple(rails)
