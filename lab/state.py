"""Where a lab keeps its files, and what it remembers about itself."""

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from lab import cabling, names
from lab.cabling import Wire
from lab.errors import LabError
from lab.variants import Variant, variant_of

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trtllm-dgx-spark"
"""Shared by checkouts: what is expensive to make."""

DISKS = Path(os.environ.get("TRTSPARK_LAB_DISKS") or "/var/lib/trtllm-dgx-spark/labs")
"""Where labs keep what must not be below a Pulumi project: `pulumi new` fails at a device."""

LOCK_DEADLINE = 300.0
"""Seconds to wait for another command on the same lab: the first `up` of a machine is the slowest."""


DEFAULT_NAME = "demo"
OWNER = "lab.json"
"""The file in a store that names the lab's folder."""


def command(lab_name: str, *words: str) -> str:
    """Return the command line for a message, e.g. `python3 -m lab power --name t on spark-1`."""
    name = [] if lab_name == DEFAULT_NAME else ["--name", lab_name]
    return shlex.join(["python3", "-m", "lab", words[0], *name, *words[1:]])


@dataclass(frozen=True)
class Node:
    """One simulated Spark; `folder` holds its disk and its console, `lab` is the lab's id."""

    lab: str
    lab_name: str
    number: int
    folder: Path
    host: IPv4Address
    wires: tuple[Wire, ...]
    variant: Variant

    @property
    def name(self) -> str:
        return names.node_name(self.number)

    @property
    def hostname(self) -> str:
        """What it calls itself."""
        return self.variant.hostname or self.name

    @property
    def fabric(self) -> list[str]:
        """Its addresses on the cables, cage by cage, half by half."""
        return [str(wire.address.ip) for wire in self.links.values() if wire.address and wire.link != "mgmt"]

    @property
    def links(self) -> dict[str, Wire]:
        """Its wires that have a cable, by what `link` calls them."""
        found = {wire.link: wire for wire in self.wires if wire.link}
        return {link: found[link] for link in cabling.LINKS if link in found}

    @property
    def namespace(self) -> str:
        """The name of its network namespace."""
        return f"{self.lab}-{self.name}"

    @property
    def disk(self) -> Path:
        """What differs from the host's files; it outlives a power cut."""
        return self.folder / "disk"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def without_power(self) -> LabError:
        """Return the error for what only a running node can do."""
        remedy = command(self.lab_name, "power", "on", self.name)
        return LabError(f"{self.name} has no power. Give it some: {remedy}")

    @property
    def process_record(self) -> Path:
        return self.folder / "process.json"


@dataclass
class Plan:
    """What `up` was asked for, written before anything is made."""

    subnet: str
    nodes: int
    variants: dict[str, list[str]] = field(default_factory=dict)
    fabric: str = "direct"
    docker: str = ""  # "29", or "" for the system's own
    images: list[str] = field(default_factory=list)
    """Versions of the serving image besides the usual one."""
    store: str = ""
    """The folder of the nodes' disks and the registry; "" for a lab of an older version, in the lab's own."""


@dataclass(frozen=True)
class Lab:
    """A lab's names and paths; nothing needs to exist yet."""

    name: str
    checkout: Path = CHECKOUT

    @property
    def id(self) -> str:
        return names.lab_id(self.checkout, self.name)

    @property
    def folder(self) -> Path:
        return self.checkout / ".lab" / self.name

    @property
    def description(self) -> Path:
        """lab.json, for the operator's programs (docs/contracts.md)."""
        return self.folder / "lab.json"

    @property
    def identity(self) -> Path:
        return self.folder / "operator"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def registry(self) -> Path:
        return self.store / "registry"

    @property
    def store(self) -> Path:
        """Root's folder for the nodes' disks and the registry, outside of the checkout."""
        plan = self.read_plan()
        if plan is None:
            return DISKS / self.id
        return Path(plan.store) if plan.store else self.folder

    def make_store(self) -> None:
        """Create the folder, with a note of whose it is for `orphans`."""
        self.store.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.store.mkdir(mode=0o700, exist_ok=True)
        write_json(self.store / OWNER, {"lab": str(self.folder)})

    @property
    def switch(self) -> str:
        """The network namespace with the lab's bridges."""
        return f"{self.id}-switch"

    def read_plan(self) -> Plan | None:
        """Return what `up` wrote, or None where no lab of this name is."""
        try:
            return Plan(**json.loads((self.folder / "plan.json").read_text()))
        except FileNotFoundError:
            return None

    def write_plan(self, plan: Plan) -> None:
        write_json(self.folder / "plan.json", asdict(plan))

    def nodes(self, plan: Plan) -> list[Node]:
        return [self._node(plan, number) for number in range(1, plan.nodes + 1)]

    def _node(self, plan: Plan, number: int) -> Node:
        lan, name = IPv4Network(plan.subnet), names.node_name(number)
        variant = variant_of(plan.variants.get(name, []))
        return Node(
            lab=self.id,
            lab_name=self.name,
            number=number,
            folder=(Path(plan.store) if plan.store else self.folder) / "nodes" / name,
            host=names.node_address(lan, number),
            wires=cabling.wires(self.id, lan, number, plan.fabric, variant),
            variant=variant,
        )

    def node(self, name: str) -> Node:
        """Return the node called `name`.

        Raises:
            LabError: there is no such lab, or no such node in it.
        """
        plan = self.read_plan()
        if plan is None:
            raise LabError(f"There is no lab {self.name!r} here. Start it: {command(self.name, 'up')}")
        found = {node.name: node for node in self.nodes(plan)}
        if name not in found:
            raise LabError(f"Lab {self.name!r} has no node {name!r}, only {', '.join(found)}.")
        return found[name]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the lab's folder (0700) and keep every other command on this lab out.

        Raises:
            LabError: another command held the lab for LOCK_DEADLINE.
        """
        end = time.monotonic() + LOCK_DEADLINE
        while True:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                while not _lock(folder):
                    if time.monotonic() > end:
                        raise LabError(f"Another command has held lab {self.name!r} for {LOCK_DEADLINE:g} s.")
                    time.sleep(0.1)
                if _still_there(folder, self.folder):
                    yield
                    return
            finally:
                os.close(folder)


def orphans() -> list[Path]:
    """Return the stores whose lab's folder is gone: somebody removed a checkout while its lab was there."""
    found = []
    for note in sorted(DISKS.glob(f"*/{OWNER}")):
        try:
            lab = Path(json.loads(note.read_text())["lab"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not lab.exists():
            found.append(note.parent)
    return found


def hand_over(folder: Path) -> None:
    """Give a folder to the user who called sudo: Pulumi, ssh and the demo read it as that user."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user and group:
        for path in [folder, *folder.rglob("*")]:
            os.lchown(path, int(user), int(group))


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_there(opened: int, path: Path) -> bool:
    """`down` removes the folder: a lock on the removed one keeps nobody out."""
    try:
        return path.stat().st_ino == os.fstat(opened).st_ino
    except FileNotFoundError:
        return False


def write_json(path: Path, document: Any) -> None:
    """Write all of it or nothing: readers may come at any time."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(document, indent=2) + "\n")
    draft.rename(path)
