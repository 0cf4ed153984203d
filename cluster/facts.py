"""What a node is: the typed facts that cluster/parsing reads from a probe's raw document.

GB10 prints `[N/A]` for its memory, so no fact is a GPU's memory: it is the machine's own, `Facts.ram`.
What a machine lacks is a fact, too: `gpu_problem`, `Docker.problem`, `daemon_json_problem`, `ipv6`. The
checks in cluster/checks say what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

NO_NVIDIA_SMI = "nvidia-smi is not there."
#: Names of interfaces that Docker makes begin so.
OF_DOCKER = ("docker", "br-", "veth")


@dataclass(frozen=True)
class Pcie:
    """A PCI function's link: `width` in lanes, `speed` in GT/s for each lane. `max_…` is what the function
    itself can do, whatever it is plugged into. 0 where the kernel does not know.
    """

    width: int
    speed: float
    max_width: int = 0
    max_speed: float = 0.0

    @property
    def gbps(self) -> float:
        """What the link carries in Gb/s: 128b/130b coding from PCIe 3.0 on (8 GT/s), 8b/10b before."""
        return self.width * self.speed * (128 / 130 if self.speed >= 8 else 0.8)

    @property
    def slow(self) -> bool:
        """Whether it has fewer lanes or a lower speed than a Spark's."""
        return self.width < SPARK_PCIE.width or self.speed < SPARK_PCIE.speed

    def __str__(self) -> str:
        return f"x{self.width} at {self.speed:g} GT/s"


#: A Spark's ConnectX-7: each of its four functions has four lanes of PCIe 5.0, by `lspci` of two Founders
#: Editions (NVIDIA's forum, thread 367853, which has an ASUS GX10 with two lanes).
SPARK_PCIE = Pcie(4, 32.0)


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
    has_gid: bool
    """Whether the GID table has a RoCE v2 entry for the address. Where it stands there changes by itself."""
    pci: str = ""
    half: int | None = None
    cage: int | None = None
    mac: str = ""
    others: tuple[IPv4Interface, ...] = ()
    """Further IPv4 addresses of the interface, which have GIDs as well."""
    pcie: Pcie | None = None
    """The link of its PCI function; None where the probe could not read it."""

    @property
    def usable(self) -> bool:
        """Link up, with an IPv4 address and the RoCE v2 GID that comes with it."""
        return self.active and self.address is not None and self.has_gid


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
    managers: tuple[str, ...] = ()
    """The addresses of the managers that it knows."""
    certificate_days: float | None = None
    """How long the certificates of its nodes are good for, as its manager has it set."""


@dataclass(frozen=True)
class Image:
    """The serving image as a node's Docker has it: digests (NAME@sha256:…), platform (linux/arm64) and what
    NVIDIA's images tell in their environment.
    """

    digests: tuple[str, ...] = ()
    platform: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


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
    installed: str = ""
    """The version of its program, where it does not answer."""
    generic_resources: tuple[str, ...] = ()
    """As daemon.json writes them: KIND=VALUE."""
    root: str = "/var/lib/docker"
    storage: str = ""
    """The storage driver: overlay2, or overlayfs where images are in containerd's store."""
    cgroup: str = ""
    swarm: SwarmState = SwarmState()
    containers: tuple[Container, ...] = ()
    flags: tuple[str, ...] = ()
    """The options on dockerd's command line, without their values: "--containerd"."""
    config_file: str = ""
    """Another settings file than daemon.json, where dockerd's command line names one."""
    platform: str = ""
    """What it runs, as images name it: linux/arm64."""
    image: Image | None = None
    """The configured image; None where it is not there, or nothing is known of it."""
    image_known: bool = False
    """Whether Docker said if the image is there."""


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
class Place:
    """A folder that is written to: `there` is the nearest that is there, from `path` upwards."""

    path: str
    there: str
    folder: bool
    """Whether that is a folder."""
    writable: bool
    """Whether the user may make files in it."""
    read_only: bool = False
    """Whether its file system is mounted read-only."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that uses the GPU, by nvidia-smi."""

    pid: int
    name: str
    container: str = ""
    """The name of the container it runs in."""
    ours: bool = False
    """Whether that is a rank of some stack of ours."""


@dataclass(frozen=True)
class Firewall:
    """What a plain user (or sudo without password) can tell of it. `known` is False when nothing could."""

    tool: str = ""
    """ufw, nftables, iptables; "" when none is active."""
    known: bool = False
    closed: tuple[str, ...] = ()
    """Of the ports we need, those it does not let in: "2377/tcp"; and "tcp on enp1s0f0np0" for an interface
    on which it does not let in every port, as MPI and NCCL need.
    """
    limited: bool = False
    """Whether it refuses ssh to whoever logs in six times within 30 seconds (`ufw limit`)."""


@dataclass(frozen=True)
class Memory:
    """/proc/meminfo, in bytes; GB10 shares it all with the GPU."""

    total: int = 0
    available: int = 0
    free: int = 0
    page_cache: int = 0
    swap: int = 0
    swap_free: int = 0
    cma_total: int = 0
    cma_free: int = 0
    """More than `cma_total` where the kernel hands its own reserve out twice: its count has gone wrong."""
    shared: int = 0
    """Files of /dev/shm and other tmpfs, and shared segments."""
    lost: int = 0
    """What belongs to no process, no file and no part of the kernel that tells: a driver's, as a rule."""


@dataclass(frozen=True)
class Facts:
    """A node's facts. Sizes in bytes; addresses as the node itself sees them."""

    node: str
    hostname: str
    user: str
    home: str
    address: IPv4Address
    """The one that ssh reached; 0.0.0.0 where that was IPv6 and no interface tells."""
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
    specs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(stack, rank) -> the fingerprint of the spec that its container was started from; PAUSED or SILENT
    (cluster/service_spec.py) where it does nothing.
    """
    wanted: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(stack, rank) -> what the Swarm wants to run, a fingerprint or NOTHING; only a manager says."""
    owner: str = ""
    """The stack that prepared the machine, by our record there."""
    swarm_nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Id -> our labels of every node that its Swarm lists, any stack's; only a manager knows any."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Name -> id of the Swarm configs of ours, any stack's; only a manager knows any."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Name -> public half of the MPI keys that its Swarm has, any stack's; only a manager knows any."""
    rank_access: Mapping[str, str] = field(default_factory=dict)
    """Stack -> the public key that may log in there for its rank's container, and from which addresses."""
    # What follows came with the wider probe; the defaults are a machine of which nothing more is known.
    gpu_problem: str = ""
    """What nvidia-smi says when no GPU is found, one line; NO_NVIDIA_SMI when it is not there."""
    gpus: int = 1
    """How many nvidia-smi lists; `gpu_name` and `gpu_uuid` are the first GB10's, else the first's."""
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
    ssh_port: int = 22
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
    daemon_json_problem: str = ""
    """A sentence when /etc/docker/daemon.json cannot be read or is not valid; `daemon_json` is empty then."""
    daemon_json_unreadable: bool = False
    """The problem is that the user may not read it."""
    ipv6: str = ""
    """The address that ssh reached, where that is IPv6."""
    login_groups: tuple[str, ...] = ()
    """The groups that the probe's own login has."""
    ntp: bool | None = None
    """Whether something keeps the clock right (adjtimex); None when it could not be asked."""
    sudo_said: str = ""
    """The last line of `sudo -n true`, where it failed."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """"home", and "cache": the hub folder of the Hugging Face cache."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Files that preparing changes and that are symbolic links -> what they lead to."""
    login_output: str = ""
    """What a login prints before a command's output, by a start-up file of the shell."""
    ibdev2netdev: Mapping[str, str] | None = None
    """RDMA device -> "enp1s0f0np0 (Up)", by the tool of that name; None where it is not there."""
    clock_limit: int | None = None
    """The cap in MHz that our unit sets on the GPU's clock; None where there is none."""

    @property
    def own_addresses(self) -> list[IPv4Address]:
        """Every address by which it may show itself to another machine: of all interfaces but loopback and
        Docker's bridges, whose addresses are the same on every machine.
        """
        found = {
            one.ip
            for name, addresses in self.interfaces.items()
            for one in addresses
            if not name.startswith(OF_DOCKER) and not one.ip.is_loopback
        }
        return sorted(found)

    def stable(self) -> dict[str, Any]:
        """What changes only when somebody changes the machine: drift worth a line in the preview."""
        return {
            "hostname": self.hostname,
            "address": str(self.address),
            "gpu": self.gpu_uuid,
            "hcas": [
                f"{hca.name} {hca.netdev} {hca.address} {hca.rate_gbps} Gb/s"
                for hca in self.hcas
                if hca.usable
            ],
        }
