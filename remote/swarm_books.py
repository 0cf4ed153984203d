"""What the Swarm itself and Pulumi's state say that we did to the machines, for remote/swarm.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.swarm_plan import LEDGER_LABEL, STACK_LABEL, Ledger, Member


def machines(state: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All nodes the Swarm was made of; after a refresh `nodes` are those that still are as they should be."""
    known: Sequence[Mapping[str, Any]] = state.get("machines") or state.get("nodes") or []
    return known


def of_state(state: Mapping[str, Any]) -> Ledger:
    """What Pulumi's state says that we did to machines."""
    joined, bare = state.get("joined") or [], state.get("bare") or []
    return Ledger(frozenset(joined), frozenset(bare), state.get("strays") or {})


def of_swarm(client: Any, head: Member) -> Ledger:
    """What the Swarm says that we did to its machines; empty where the head manages none."""
    if not head.manager:
        return Ledger()
    made = (client.inspect_swarm().get("Spec") or {}).get("Labels") or {}
    adopted = client.inspect_node(head.node_id)["Spec"].get("Labels") or {}
    return Ledger.parse(made.get(LEDGER_LABEL)) | Ledger.parse(adopted.get(LEDGER_LABEL))


def torn(client: Any, head: Member) -> bool:
    """Whether a ledger in the Swarm is there and cannot be understood."""
    labels = (client.inspect_swarm().get("Spec") or {}).get("Labels") or {}
    adopted = client.inspect_node(head.node_id)["Spec"].get("Labels") or {}
    return any(Ledger.is_torn(one.get(LEDGER_LABEL)) for one in (labels, adopted))


def note(client: Any, ledger: Ledger) -> None:
    """Write the ledger of a Swarm of ours."""
    found = client.inspect_swarm()
    spec = found["Spec"]
    labels = {**(spec.get("Labels") or {}), LEDGER_LABEL: ledger.text()}
    client.update_swarm(found["Version"]["Index"], swarm_spec={**spec, "Labels": labels})


def made_for(client: Any, stack: str) -> bool:
    """Whether the Swarm was made by us for this stack: it says so itself, from its first moment."""
    labels = (client.inspect_swarm().get("Spec") or {}).get("Labels") or {}
    return bool(labels.get(STACK_LABEL) == stack)
