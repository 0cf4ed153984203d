"""Sparks that differ from a fresh one, for tests: `up --variant docker-group --variant spark-2:no-gpu`."""

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True)
class Kind:
    """One variant: what it makes of a node, and the value it takes after `=`.

    `value` names the value ("" takes none); `choices` or `pattern` say which are good.
    """

    text: str
    value: str = ""
    choices: tuple[str, ...] = ()
    pattern: str = ".+"

    def usage(self, name: str) -> str:
        return f"{name}={'|'.join(self.choices) or self.value}" if self.value else name


TOOLKITS = ("1.17.8", "1.18.2", "1.19.1", "1.20.1")
"""Versions of NVIDIA's container toolkit that can be built here, the newest last."""
KERNELS = ("6.17.0-1014-nvidia", "7.0.0-1019-nvidia")

VARIANTS = {
    # What docs/preparing.md asks the owner of a fresh Spark for.
    "docker-group": Kind("the user is in group docker"),
    "sudo-nopasswd": Kind("sudo asks for no password"),
    # Accounts and the machine itself.
    "sudo-denied": Kind("the user may not use sudo at all"),
    "hostname": Kind("it calls itself so (two nodes may do it)", "NAME", (), "[a-z0-9-]+"),
    "dgx-release": Kind("of a box never updated, or another vendor's", "FORM", ("never-updated", "oem")),
    "kernel": Kind("what the kernel says it is", "VERSION", KERNELS),
    "kho-off": Kind("kho=off is on the kernel's command line"),
    "lang": Kind("the language of commands that have it", "LANG", ("de_DE",)),
    "clock": Kind("logins see a clock that is off, e.g. +90", "SECONDS", (), r"[+-]\d+"),
    "ufw": Kind("the firewall ufw lets ssh in only; its rules are root's, as on Ubuntu"),
    "ufw-readable": Kind("likewise, but everybody may read its rules"),
    # GPU and Docker.
    "no-gpu": Kind("the driver finds no GPU, as after an update of half the packages"),
    "gpus": Kind("so many GPUs are listed", "N", (), "[2-8]"),
    "no-docker": Kind("dockerd is not started"),
    "daemon-json": Kind("a copy of FILE is /etc/docker/daemon.json", "FILE"),
    "live-restore": Kind('/etc/docker/daemon.json has "live-restore": true'),
    "dockerd-flag": Kind("Docker's unit has it, e.g. --log-level=warn; repeatable", "FLAG", (), "--.+"),
    "image-store": Kind("where Docker 29 keeps its images", "STORE", ("containerd", "overlay2")),
    "toolkit": Kind("NVIDIA's own runtime and nvidia-ctk", "VERSION", TOOLKITS),
    "swarm-resource": Kind("uncommented in the NVIDIA runtime's config.toml, as by sed"),
    "toolkit-legacy": Kind('mode = "legacy" in the NVIDIA runtime\'s config.toml'),
    # The fabric.
    "no-cable": Kind("no cable: the ConnectX-7 is not there at all, as a Spark switches it off"),
    "cable-port1": Kind("the cable is in cage 1: the interfaces f1np1 are the ones that are up"),
    "no-address": Kind("the cable is in, and nobody has given the interfaces addresses"),
    "one-half-address": Kind("only half 0 of a cable has an address"),
    "link-local": Kind("addresses from 169.254.0.0/16, by netplan's link-local"),
    "one-subnet": Kind("both halves of a cable in one /24"),
    "mtu": Kind("the fabric's MTU by netplan", "BYTES", ("9000",)),
    "rate": Kind("the link rate of the RDMA devices in Gb/s", "GBPS", ("100",)),
    "renamed-hcas": Kind("RDMA devices are called mlx5_0 to mlx5_3"),
    "pcie": Kind(
        "the ConnectX-7's functions in PCI domain 0002 have a narrow or slow link", "LINK", ("x2", "16GT")
    ),
    "no-perftest": Kind("there is no ib_write_bw: the package perftest is not installed"),
    "no-rdma-tools": Kind("there is no ibdev2netdev"),
}

_EXCLUDE = (
    {"sudo-nopasswd", "sudo-denied"},
    {"daemon-json", "live-restore"},
    {"no-gpu", "gpus"},
    {"ufw", "ufw-readable"},
    {"no-cable", "cable-port1"},
    {"no-address", "one-half-address", "no-cable"},
    {"no-address", "link-local", "one-subnet", "no-cable"},
    {"pcie", "no-cable"},
    {"no-address", "mtu", "no-cable"},
)
"""Of each of these a node can be one."""


@dataclass(frozen=True)
class Variant:
    """What makes one node differ; the default is a fresh Spark with its cable's addresses set."""

    docker_group: bool = False
    sudo_password: bool = True
    sudo: bool = True
    hostname: str = ""
    dgx_release: str = ""
    kernel: str = ""
    kho_off: bool = False
    lang: str = ""
    clock_s: int = 0
    ufw: bool = False
    ufw_readable: bool = False
    gpus: int = 1
    docker: bool = True
    daemon_json: Path | None = None
    live_restore: bool = False
    dockerd_flags: tuple[str, ...] = ()
    image_store: str = ""
    toolkit: str = ""
    swarm_resource: bool = False
    toolkit_legacy: bool = False
    cable: bool = True
    cage: int = 0
    halves: int = 2
    addresses: str = "static"  # or "none", "link-local", "one-subnet"
    mtu: int = 1500
    rate: int = 200
    renamed_hcas: bool = False
    rdma_tools: bool = True
    perftest: bool = True
    pcie: str = ""

    @property
    def may_refuse_settings(self) -> bool:
        """Whether its dockerd may be given settings that it does not start with."""
        return self.daemon_json is not None or bool(self.dockerd_flags)


def usages() -> dict[str, str]:
    """Return {"daemon-json=FILE": what it is, …}, in the order of the table."""
    return {kind.usage(name): kind.text for name, kind in VARIANTS.items()}


def parse(words: list[str], nodes: list[str]) -> dict[str, list[str]]:
    """Sort `[NODE:]VARIANT` words by node; one without a node is for all of `nodes`.

    Raises:
        LabError: no such node, variant or file, or two that exclude each other.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        node, colon, variant = word.partition(":")
        if not colon or "=" in node:
            node, variant = "", word
        if node and node not in nodes:
            raise LabError(f"--variant {word}: there is no node {node!r}, only {', '.join(nodes)}.")
        for each in [node] if node else nodes:
            found.setdefault(each, []).append(_checked(word, variant))
    for node, variants in found.items():
        names = {variant.partition("=")[0] for variant in variants}
        for group in _EXCLUDE:
            if len(both := sorted(group & names)) > 1:
                raise LabError(f"--variant: {node} cannot be {both[0]} and {both[1]}.")
    return {node: sorted(set(variants)) for node, variants in found.items()}


def _checked(word: str, variant: str) -> str:
    name, equals, value = variant.partition("=")
    kind = VARIANTS.get(name)
    if kind is None:
        raise LabError(f"--variant {word}: no such variant; there are {', '.join(usages())}.")
    if bool(equals) != bool(kind.value):
        raise LabError(f"--variant {word}: it is written {kind.usage(name)}.")
    if not equals:
        return variant
    if value not in kind.choices if kind.choices else not re.fullmatch(kind.pattern, value):
        raise LabError(f"--variant {word}: it is written {kind.usage(name)}.")
    if kind.value == "FILE":
        if not Path(value).is_file():
            raise LabError(f"--variant {word}: there is no file {value}.")
        return f"{name}={Path(value).resolve()}"
    return variant


def variant_of(words: list[str]) -> Variant:
    """Return what the checked words for one node mean together."""
    values: dict[str, list[str]] = {}
    for word in words:
        name, _, value = word.partition("=")
        values.setdefault(name, []).append(value)

    def last(name: str, default: str = "") -> str:
        return values.get(name, [default])[-1]

    addresses = "static"
    for name, meant in {"no-address": "none", "link-local": "link-local", "one-subnet": "one-subnet"}.items():
        addresses = meant if name in values else addresses
    return Variant(
        docker_group="docker-group" in values,
        sudo_password="sudo-nopasswd" not in values,
        sudo="sudo-denied" not in values,
        hostname=last("hostname"),
        dgx_release=last("dgx-release"),
        kernel=last("kernel"),
        kho_off="kho-off" in values,
        lang=last("lang"),
        clock_s=int(last("clock", "0")),
        ufw="ufw" in values or "ufw-readable" in values,
        ufw_readable="ufw-readable" in values,
        gpus=0 if "no-gpu" in values else int(last("gpus", "1")),
        docker="no-docker" not in values,
        daemon_json=Path(last("daemon-json")) if "daemon-json" in values else None,
        live_restore="live-restore" in values,
        dockerd_flags=tuple(values.get("dockerd-flag", [])),
        image_store=last("image-store"),
        toolkit=last("toolkit"),
        swarm_resource="swarm-resource" in values,
        toolkit_legacy="toolkit-legacy" in values,
        cable="no-cable" not in values,
        cage=1 if "cable-port1" in values else 0,
        halves=1 if "one-half-address" in values else 2,
        addresses=addresses,
        mtu=int(last("mtu", "1500")),
        rate=int(last("rate", "200")),
        renamed_hcas="renamed-hcas" in values,
        rdma_tools="no-rdma-tools" not in values,
        perftest="no-perftest" not in values,
        pcie=last("pcie"),
    )
