"""Fetching a model to all nodes as `pulumi up` does, without a deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.config import Settings
from cluster.errors import TrtSparkError
from cluster.other_model import with_model
from trtspark.project import Stack

#: Of the checks, those that say whether files can be fetched and kept; the others are about serving.
NEEDED = ("disk.", "weights.")


def fetch(stack: Stack, model: str, say: Callable[[str], None]) -> None:
    """Returns when every file is whole on every node; goes on with what an earlier run has begun.

    Raises TrtSparkError when the model cannot be had, or a node cannot take it.
    """
    from remote import hub, weights

    settings = wanted(stack.settings, model)
    props = _props(stack, settings)
    weights.ensure(props, hub.token(settings).value or "", say)


def wanted(settings: Settings, model: str) -> Settings:
    """The settings to fetch that model with."""
    return with_model(settings, model, running=True, download_weights=True)


def _props(stack: Stack, settings: Settings) -> dict[str, Any]:
    """The inputs of ModelWeights (dynamic_providers/model_weights.py), after a look at the nodes."""
    from cluster import fabric
    from components.stack import weights_of
    from remote.preflight import Look, examine

    connections = stack.connections
    found = examine(stack.name, settings, connections)
    failed = [one.error() for one in found.findings if one.level == "FAIL" and one.check.startswith(NEEDED)]
    if found.errors or failed:
        raise TrtSparkError("\n".join(str(error) for error in (*found.errors, *failed)))
    network = fabric.plan(found.facts, [node.fabric for node in settings.active_nodes], settings.transport)
    look = Look(found.facts, found.caches, (), found.notes, found.found, found.fabric)
    return {
        **weights_of(settings, network, look),
        "stack": stack.name,
        "model": settings.model,
        "revision": look.revision,
        "hfCache": settings.hf_cache,
        "connections": [one.as_props() for one in connections],
    }
