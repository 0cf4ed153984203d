"""A service's spec as Swarm has it, against the one that the last `up` gave it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.service_spec import fingerprint, mark, observed, without_image
from cluster.swarm_plan import RANK_LABEL

#: The end of a service's type in Pulumi's state (dynamic_providers/swarm_service.py).
_TYPE = "trtspark:SwarmService"
REPAIR = "`pulumi refresh` shows what, `pulumi up --refresh` repairs it"


@dataclass(frozen=True)
class Given:
    """A rank's service by the state. `spec` is what the last `up` wrote or the last `refresh` saw; `mark`
    (its fingerprint) and `image` are the last `up`'s in any case.
    """

    rank: int
    spec: Mapping[str, Any]
    mark: str
    image: str


def given(spec: Mapping[str, Any], image: str) -> dict[str, str]:
    """What a service's state keeps of what `up` gave it: a refresh leaves it alone."""
    return {"mark": mark(spec), "image": image}


def of_state(resources: Iterable[Mapping[str, Any]]) -> list[Given]:
    """The ranks' services among the resources of an exported stack, by rank."""
    found = []
    for one in resources:
        props = one.get("outputs") or {}
        if not str(one.get("type", "")).endswith(_TYPE) or one.get("delete") or "spec" not in props:
            continue
        spec = whole_numbers(props["spec"])
        kept = props.get("given") or given(spec, str(props["image"]))  # an older program's state has none
        rank = int(spec["Labels"][RANK_LABEL])
        found.append(Given(rank, spec, str(kept["mark"]), str(kept["image"])))
    return sorted(found, key=lambda one: one.rank)


def differences(
    wanted: Sequence[Given], there: Mapping[int, Mapping[str, Any]], running: Mapping[int, str]
) -> list[str]:
    """A sentence per rank that is not as the last `up` gave it. `there`: Swarm's specs by rank; `running`:
    the mark of the spec that each rank's container was started from, of those that run.
    """
    found = []
    for one in wanted:
        if one.rank not in there:
            found.append(f"rank {one.rank} has no service in the Swarm any more: `pulumi up --refresh`")
            continue
        now = in_shape(one.spec, there[one.rank])
        image = there[one.rank]["TaskTemplate"]["ContainerSpec"].get("Image")
        if (fingerprint(now), image, running.get(one.rank, one.mark)) != (one.mark, one.image, one.mark):
            parts = (["Image"] if image != one.image else []) + _names(one.spec, now)
            listed = f" ({', '.join(parts)})" if parts else ""
            found.append(f"rank {one.rank} runs another spec than the last `up` gave it{listed}: {REPAIR}")
    return found


def _names(wanted: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs of a task, by the Engine API's names."""
    old, new = wanted["TaskTemplate"], now["TaskTemplate"]
    container = _differing(old["ContainerSpec"], new["ContainerSpec"])
    return container + [name for name in _differing(old, new) if name != "ContainerSpec"]


def _differing(wanted: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in wanted if now[key] != wanted[key]]


def in_shape(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, Any]:
    """Swarm's own spec written as `wanted` is: equal to it where nobody changed anything."""
    task = actual["TaskTemplate"]
    bare = {**actual, "TaskTemplate": {**task, "ContainerSpec": without_image(task["ContainerSpec"])}}
    spec: dict[str, Any] = observed(wanted, plain(bare, wanted))
    container = spec["TaskTemplate"]["ContainerSpec"]
    for kind in ("Config", "Secret"):
        container[f"{kind}s"] = [
            {key: value for key, value in reference.items() if key != f"{kind}ID"}
            for reference in container[f"{kind}s"] or []
        ]
    return spec


def plain(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The engine names the host network by its id: where there is one network as wanted, it is that."""
    task = dict(actual["TaskTemplate"])
    if len(task.get("Networks") or []) == len(wanted["TaskTemplate"]["Networks"]):
        task["Networks"] = wanted["TaskTemplate"]["Networks"]
    return {**actual, "TaskTemplate": task}


def whole_numbers(value: Any) -> Any:
    """Pulumi carries numbers as floats; the Engine API wants integers."""
    if isinstance(value, dict):
        return {key: whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
