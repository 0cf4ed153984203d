"""What a node is: parsers from the probe's raw document (remote/node/probe.py) to typed facts.

Samples of the raw outputs are in tests/fixtures/probes; their sources are NVIDIA's and the community's
published listings for the Spark. GB10 prints `[N/A]` for its memory, so nothing here reads GPU memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from cluster.errors import NotPrepared


@dataclass(frozen=True)
class Hca:
    """One half of a ConnectX-7 port: an RDMA device and the interface it belongs to.

    A cable in QSFP port `cage` (0 or 1) shows as two devices, one per PCI `half` (0: domain 0000,
    1: domain 0002). Rates in Gb/s, MTU in bytes.
    """

    name: str
    active: bool
    rate_gbps: int
    netdev: str
    mtu: int
    address: IPv4Interface | None
    gid_index: int | None
    pci: str = ""
    half: int | None = None
    cage: int | None = None
    mac: str = ""

    @property
    def usable(self) -> bool:
        """Link up, with an IPv4 address and the RoCE v2 GID that comes with it."""
        return self.active and self.address is not None and self.gid_index is not None


@dataclass(frozen=True)
class Container:
    """A container that runs on the node. `ours`: a rank of some stack of ours."""

    name: str
    image: str
    ours: bool
    restarts: bool
    """Whether its own restart policy brings it back after a restart of Docker."""


@dataclass(frozen=True)
class SwarmState:
    """The node's own view of its Swarm (`docker info`)."""

    state: str = "inactive"
    node_id: str = ""
    manager: bool = False
    address: str = ""
    error: str = ""


@dataclass(frozen=True)
class Docker:
    """The engine as the node's user sees it; `problem` is "" when it answers."""

    version: str
    runtimes: tuple[str, ...]
    default_runtime: str
    swarm_state: str
    live_restore: bool
    problem: str = ""
    """"" or one of: missing, denied (no right to the socket), silent (not running)."""
    said: str = ""
    """What it said when there is a problem, one line."""
    api: str = ""
    min_api: str = ""
    generic_resources: tuple[str, ...] = ()
    """As daemon.json writes them: KIND=VALUE."""
    root: str = "/var/lib/docker"
    storage: str = ""
    """The storage driver: overlay2, or overlayfs where images are in containerd's store."""
    cgroup: str = ""
    swarm: SwarmState = SwarmState()
    containers: tuple[Container, ...] = ()


@dataclass(frozen=True)
class Toolkit:
    """NVIDIA's container toolkit. Empty strings: not there, or the line is commented out."""

    version: str = ""
    mode: str = ""
    swarm_resource: str = ""
    config: bool = False
    """Whether /etc/nvidia-container-runtime/config.toml is there."""


@dataclass(frozen=True)
class Disk:
    """Room under a folder, in bytes and inodes, for a plain user."""

    path: str
    mount: str
    total: int
    free: int
    inodes_free: int


@dataclass(frozen=True)
class GpuProcess:
    """A process that uses the GPU, by nvidia-smi."""

    pid: int
    name: str


@dataclass(frozen=True)
class Firewall:
    """What a plain user (or sudo without password) can tell of it. `known` is False when nothing could."""

    tool: str = ""
    """ufw, nftables, iptables; "" when none is active."""
    known: bool = False
    closed: tuple[str, ...] = ()
    """Of the ports we need, those it does not let in: "2377/tcp"."""


@dataclass(frozen=True)
class Memory:
    """/proc/meminfo, in bytes; GB10 shares it all with the GPU."""

    total: int = 0
    available: int = 0
    free: int = 0
    page_cache: int = 0
    swap: int = 0


@dataclass(frozen=True)
class Facts:
    """A node's facts. Sizes in bytes; addresses as the node itself sees them."""

    node: str
    hostname: str
    user: str
    home: str
    address: IPv4Address
    operator: str
    gpu_name: str
    gpu_uuid: str
    driver: str
    docker: Docker
    toolkit: str
    hcas: tuple[Hca, ...]
    interfaces: Mapping[str, tuple[IPv4Interface, ...]]
    memory: int
    platform: str
    kernel: str
    sudo: bool
    daemon_json: Mapping[str, Any]
    listening: tuple[tuple[str, int], ...]
    ranks: tuple[tuple[str, str, str], ...]
    """(stack, rank, port) of every rank container of ours that runs there, any stack's."""
    # What follows came with the wider probe; the defaults are a machine of which nothing more is known.
    gpu_problem: str = ""
    """What nvidia-smi says when no GPU is found, one line."""
    gpu_processes: tuple[GpuProcess, ...] = ()
    cuda: str = ""
    container_toolkit: Toolkit = Toolkit()
    ram: Memory = Memory()
    disks: Mapping[str, Disk] = field(default_factory=dict)
    """By what it is for: "cache" (the Hugging Face cache's path) and "docker" (Docker's root)."""
    groups: tuple[str, ...] = ()
    """The login's groups as they are in /etc/group: a login from before a change does not have all."""
    clock_offset: float | None = None
    """Seconds the node is ahead of the operator, as far as the round trip lets one tell."""
    firewall: Firewall = Firewall()
    management: str = ""
    """The interface that has `address`."""
    cmdline: str = ""
    """The kernel's command line."""
    memlock: int | None = None
    """Bytes a login's process may lock; None for unlimited."""
    locale: str = ""
    netplan: tuple[str, ...] = ()
    """Names of the files in /etc/netplan."""
    routes: tuple[IPv4Network, ...] = ()
    """Destinations in the routing table, and networks of its own addresses."""
    udp: tuple[tuple[str, int], ...] = ()
    """(address, port) of every UDP socket that is bound."""

    def stable(self) -> dict[str, Any]:
        """What changes only when somebody changes the machine: drift worth a line in the preview."""
        return {
            "hostname": self.hostname,
            "address": str(self.address),
            "gpu": self.gpu_uuid,
            "hcas": [
                f"{hca.name} {hca.netdev} {hca.address} gid {hca.gid_index} {hca.rate_gbps} Gb/s"
                for hca in self.hcas
                if hca.usable
            ],
        }


def parse(node: str, document: Mapping[str, Any]) -> Facts:
    """Facts from a probe's document; `node` is how the user calls the machine.

    Raises NotPrepared with what is missing and the command that helps.
    """
    commands, files = document["commands"], document["files"]
    name, uuid, driver = _gpu(node, commands["nvidia-smi"])
    interfaces = _interfaces(commands["ip-addr"]["out"])
    connection = document["ssh_connection"].split()
    return Facts(
        node=node,
        hostname=document["hostname"],
        user=document["user"],
        home=document["home"],
        address=_address(node, connection[2] if len(connection) == 4 else "127.0.0.1"),
        operator=connection[0] if connection else "",
        gpu_name=name,
        gpu_uuid=uuid,
        driver=driver,
        docker=_docker(node, document["user"], commands["docker-info"]),
        toolkit=_first(r"version (\S+)", commands["nvidia-ctk"]["out"]),
        hcas=tuple(_hca(raw, document["net"], interfaces) for raw in document["rdma"]),
        interfaces=interfaces,
        memory=int(_first(r"MemTotal:\s+(\d+) kB", files["/proc/meminfo"] or "") or 0) * 1024,
        platform=_platform(files["/etc/dgx-release"]),
        kernel=(files["/proc/sys/kernel/osrelease"] or "").strip(),
        sudo=commands["sudo"]["rc"] == 0,
        daemon_json=_daemon_json(node, files["/etc/docker/daemon.json"]),
        listening=tuple((str(address), int(port)) for address, port in document["listening"]),
        ranks=_ranks(commands["docker-ranks"]["out"]),
    )


def _address(node: str, text: str) -> IPv4Address:
    """The node's address that ssh reached; a name may well lead to IPv6 (`spark-1.local` does)."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise NotPrepared(
            node,
            f"ssh reached it at the IPv6 address {text}.",
            "List it under nodes by its IPv4 address: the ranks and the Swarm use that.",
        ) from None


def _gpu(node: str, smi: Mapping[str, Any]) -> tuple[str, str, str]:
    rows = [[cell.strip() for cell in row.split(",")] for row in smi["out"].splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[2].startswith("GPU-")]
    if smi["rc"] == 127:
        raise NotPrepared(
            node,
            "nvidia-smi is not there.",
            "Install NVIDIA's driver (a Spark has it: is this host one?).",
        )
    if not rows:
        said = (smi["out"] + " " + smi["err"]).split("\n")[0].strip() or f"exit code {smi['rc']}"
        raise NotPrepared(
            node,
            f"no GPU found: nvidia-smi says {said!r}.",
            "Check that `nvidia-smi -L` lists one; after a driver update, reboot the machine.",
        )
    return rows[0][1], rows[0][2], rows[0][3]


def _docker(node: str, user: str, info: Mapping[str, Any]) -> Docker:
    said = info["err"].strip() or info["out"].strip()
    if info["rc"] == 127:
        raise NotPrepared(
            node,
            "Docker is not installed.",
            "Install it (DGX OS: `sudo apt-get install docker-ce docker-ce-cli containerd.io`).",
        )
    try:
        found = json.loads(info["out"])
    except json.JSONDecodeError:
        found = {}
    errors = " ".join(found.get("ServerErrors") or []) or said
    if "permission denied" in errors.lower():
        raise NotPrepared(
            node,
            f"user {user} may not use Docker's socket.",
            f"Run there `sudo usermod -aG docker {user}`, then log in again.",
        )
    if not found.get("ServerVersion"):
        raise NotPrepared(
            node,
            f"Docker does not answer ({errors.splitlines()[0] if errors else 'no output'}).",
            "Start it there with `sudo systemctl start docker`; its log: `journalctl -u docker`.",
        )
    return Docker(
        version=found["ServerVersion"],
        runtimes=tuple(sorted(found.get("Runtimes") or {})),
        default_runtime=found.get("DefaultRuntime", ""),
        swarm_state=(found.get("Swarm") or {}).get("LocalNodeState", "inactive"),
        live_restore=bool(found.get("LiveRestoreEnabled")),
    )


def _daemon_json(node: str, text: str | None) -> Mapping[str, Any]:
    """Docker's settings file: absent on a fresh Spark, never overwritten when it cannot be read.

    Docker takes an empty file for no settings, and so do we.
    """
    if text is None or not text.strip():
        return {}
    if text.startswith("unreadable: "):
        raise NotPrepared(
            node,
            f"/etc/docker/daemon.json cannot be read ({text.removeprefix('unreadable: ')}).",
            "Let it be read there with `sudo chmod a+r /etc/docker/daemon.json`.",
        )
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise NotPrepared(
            node,
            f"/etc/docker/daemon.json is not valid JSON ({where}).",
            "Mend it by hand (`sudo dockerd --validate` checks it); it was not touched.",
        ) from None
    if not isinstance(found, dict):
        raise NotPrepared(
            node,
            "/etc/docker/daemon.json is not a JSON object.",
            "Mend it by hand; it was not touched.",
        )
    return found


def _interfaces(text: str) -> dict[str, tuple[IPv4Interface, ...]]:
    try:
        links = json.loads(text or "[]")
    except json.JSONDecodeError:
        return {}
    return {
        link["ifname"]: tuple(
            IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
            for entry in link.get("addr_info", [])
            if entry.get("family") == "inet"
        )
        for link in links
        if "ifname" in link
    }


def _hca(
    raw: Mapping[str, Any],
    net: Mapping[str, Mapping[str, str]],
    interfaces: Mapping[str, tuple[IPv4Interface, ...]],
) -> Hca:
    netdev = (raw["netdevs"] or [""])[0]
    address = next(iter(interfaces.get(netdev, ())), None)
    return Hca(
        name=raw["name"],
        active="ACTIVE" in raw["state"],
        rate_gbps=int(_first(r"^(\d+)", raw["rate"]) or 0),
        netdev=netdev,
        mtu=int(net.get(netdev, {}).get("mtu") or 0),
        address=address,
        gid_index=_gid_index(raw["gids"], address),
    )


def _gid_index(gids: list[Mapping[str, Any]], address: IPv4Interface | None) -> int | None:
    """The RoCE v2 GID that carries this IPv4 address (::ffff:a.b.c.d); normally index 3."""
    if address is None:
        return None
    octets = address.ip.packed.hex()
    wanted = f"0000:0000:0000:0000:0000:ffff:{octets[:4]}:{octets[4:]}"
    for gid in gids:
        if gid["type"] == "RoCE v2" and gid["gid"].lower() == wanted:
            return int(gid["index"])
    return None


def _platform(text: str | None) -> str:
    """The pretty name and newest version of /etc/dgx-release: the last of repeated keys wins."""
    found = dict(re.findall(r'^(DGX_\w+)="?([^"\n]*)"?$', text or "", re.MULTILINE))
    version = found.get("DGX_OTA_VERSION") or found.get("DGX_SWBUILD_VERSION", "")
    return f"{found.get('DGX_PRETTY_NAME', '')} {version}".strip()


def _ranks(text: str) -> tuple[tuple[str, str, str], ...]:
    rows = [row.split() for row in text.splitlines()]
    return tuple((row[0], row[1], row[2] if len(row) > 2 else "") for row in rows if len(row) >= 2)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else ""
