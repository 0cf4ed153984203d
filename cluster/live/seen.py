"""What runs now, as one look shows it: typed views of what remote/node/live.py answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cluster import affinity, gpu_state
from cluster.config import Settings
from cluster.facts import Facts
from cluster.service_spec import GPU_KIND, PAUSED
from cluster.swarm_plan import RANK_LABEL

FAILED = ("failed", "rejected")


@dataclass(frozen=True)
class Task:
    """One start of a rank. `age_s`: seconds since Swarm made it; `exit_code` None while it runs."""

    rank: int
    state: str
    desired: str
    said: str
    exit_code: int | None
    age_s: float

    @property
    def failed(self) -> bool:
        """Whether it ended on its own."""
        return self.state in FAILED


@dataclass(frozen=True)
class Service:
    """One rank's service; `replicas` 0: it is stopped. `age_s`: seconds since its spec was last changed."""

    rank: int
    name: str
    replicas: int
    age_s: float


@dataclass(frozen=True)
class Member:
    """A node as the Swarm's manager lists it."""

    id: str
    hostname: str
    state: str
    availability: str
    gpus: tuple[str, ...]
    rank: str


@dataclass(frozen=True)
class Machine:
    """What one node says of itself. `digests`: of the images of our containers that run there, each the
    set of that image's names with a digest; `counters`: HCA -> counter -> number since the driver came up;
    `confined`: rank -> which of its threads may not use every CPU (cluster/affinity.py), of those that are;
    `paused`: the ranks whose containers somebody has paused.
    """

    digests: tuple[frozenset[str], ...] = ()
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    confined: Mapping[int, str] = field(default_factory=dict)
    paused: tuple[int, ...] = ()
    gpu: tuple[gpu_state.GpuSample, ...] = ()
    """The GPU's state, a few times in a row."""


@dataclass(frozen=True)
class Answer:
    """What the endpoint said: the model it lists ("" and why in `said`), and whether a completion came back
    (None: not asked).
    """

    model: str = ""
    said: str = ""
    completes: bool | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class CableTest:
    """What the full test of the cables found: figures, what is wrong, and what was not tested and why."""

    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Live:
    """Everything a live check may look at. `nodes` head first; `outputs` are the stack's, {} before the
    first `up`. `swarm` is None where the head's Docker gave no answer as a manager. Of --full: `fabric`
    (what the cables reached) and `gpus` (node -> what is wrong, "" when nothing); None: not tested.
    """

    stack: str
    settings: Settings
    nodes: Sequence[Facts]
    caches: Sequence[Mapping[str, Any]]
    outputs: Mapping[str, Any]
    machines: Sequence[Machine]
    swarm: Sequence[Member] | None = None
    services: Sequence[Service] = ()
    tasks: Sequence[Task] = ()
    answer: Answer | None = None
    log: Sequence[str] | None = None
    fabric: CableTest | None = None
    gpus: Mapping[str, str] | None = None

    @property
    def deployed(self) -> bool:
        """Whether an `up` of this stack has come to its end."""
        return bool(self.outputs.get("endpoint"))

    @property
    def serving(self) -> bool:
        """Whether something should answer."""
        return self.deployed and self.settings.running and bool(self.outputs.get("model"))


def machine(document: Mapping[str, Any]) -> Machine:
    """One node's answer, read."""
    running = [one for one in document.get("containers") or [] if one["State"] == "running"]
    return Machine(
        tuple(frozenset(_digest(name) for name in one["digests"]) for one in running),
        document.get("counters") or {},
        confined(document),
        tuple(
            rank
            for one in document.get("containers") or []
            if one["State"] == PAUSED and (rank := rank_of(one["Labels"])) is not None
        ),
        tuple(gpu_state.read(one) for one in document.get("gpu") or ()),
    )


def confined(document: Mapping[str, Any]) -> dict[int, str]:
    """Of one node's answer: rank -> which of its threads may not use every CPU; {} when all may."""
    running = [one for one in document.get("containers") or [] if one["State"] == "running"]
    found = {
        rank: affinity.confined(one.get("processes") or [])
        for one in running
        if (rank := rank_of(one["Labels"])) is not None
    }
    return {rank: text for rank, text in found.items() if text}


def members(document: Mapping[str, Any]) -> tuple[Member, ...] | None:
    """The Swarm's nodes, of the manager's answer; None when it is no manager."""
    if document.get("nodes") is None:
        return None
    return tuple(
        Member(
            one["ID"],
            one["Description"]["Hostname"] or "",
            one["Status"]["State"],
            one["Spec"]["Availability"] or "",
            _gpus(one["Description"].get("Resources") or {}),
            (one["Spec"].get("Labels") or {}).get(RANK_LABEL, ""),
        )
        for one in document["nodes"]
    )


def services(document: Mapping[str, Any]) -> tuple[Service, ...]:
    """Our services, by rank."""
    found = [
        Service(
            rank,
            one["Spec"]["Name"],
            _replicas(one["Spec"].get("Mode") or {}),
            document["time"] - seconds(one["UpdatedAt"]),
        )
        for one in document.get("services") or []
        if (rank := rank_of(one["Spec"].get("Labels"))) is not None
    ]
    return tuple(sorted(found, key=lambda one: one.rank))


def rank_of(labels: Mapping[str, Any] | None) -> int | None:
    """The rank that labels name; None where they name none, as on what somebody else labelled as ours."""
    text = str((labels or {}).get(RANK_LABEL, ""))
    return int(text) if text.isascii() and text.isdecimal() else None


def _replicas(mode: Mapping[str, Any]) -> int:
    """How many containers are asked for; a service of mode global runs one on each node."""
    if "Global" in mode:
        return 1
    return int((mode.get("Replicated") or {}).get("Replicas") or 0)


def tasks(document: Mapping[str, Any]) -> tuple[Task, ...]:
    """Our tasks, the newest first."""
    ranks = {one["ID"]: rank_of(one["Spec"].get("Labels")) for one in document.get("services") or []}
    found = []
    for one in document.get("tasks") or []:
        rank = ranks.get(one["ServiceID"])
        if rank is None:
            continue
        status = one.get("Status") or {}
        container = status.get("ContainerStatus") or {}
        over = status.get("State") not in ("running", "starting", "preparing", "ready", "pending")
        found.append(
            Task(
                rank,
                status.get("State", ""),
                one.get("DesiredState", ""),
                status.get("Err") or status.get("Message") or "",
                int(container["ExitCode"]) if over and "ExitCode" in container else None,
                document["time"] - seconds(one["CreatedAt"]),
            )
        )
    return tuple(found)


def seconds(text: str) -> float:
    """Docker's time (RFC 3339 with nanoseconds, UTC) as seconds since the epoch."""
    whole = re.sub(r"(\.\d{1,6})\d*", r"\1", text).replace("Z", "+00:00")
    return datetime.fromisoformat(whole).astimezone(UTC).timestamp()


def _digest(name: str) -> str:
    return name.rpartition("@")[2]


def _gpus(resources: Mapping[str, Any]) -> tuple[str, ...]:
    named = [one.get("NamedResourceSpec") or {} for one in resources.get("GenericResources") or []]
    counted = [one.get("DiscreteResourceSpec") or {} for one in resources.get("GenericResources") or []]
    found = [str(one.get("Value")) for one in named if one.get("Kind") == GPU_KIND]
    return tuple(found + [str(one.get("Value")) for one in counted if one.get("Kind") == GPU_KIND])
