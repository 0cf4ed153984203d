"""Which model at which commit is meant, and its shape: from the Hub, else from the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cluster.config import Settings
from cluster.errors import TrtSparkError
from cluster.hub_files import Resolved
from cluster.resolution import Found, HubError, HubUnavailable, from_caches, missing_bytes
from remote import shapes
from remote.node import hub_names
from remote.ssh import Shell

if TYPE_CHECKING:
    from remote.hub import Hub


def default_hub(settings: Settings) -> Hub:
    """The Hub that the environment and the stack's token name."""
    from remote import hub  # whose client takes half a second to load

    return hub.Hub(hub.endpoint(), hub.token(settings))


def unasked(_settings: Settings) -> Hub:
    """For `hub_of`, where what the nodes hold is enough."""
    raise HubUnavailable("The Hub was not asked.")


def ask(settings: Settings, hub_of: Callable[[Settings], Hub] = default_hub) -> Resolved | HubError:
    """The Hub's answer about the model, or why there is none. Raises TrtSparkError for a repository that
    no engine of ours can load.
    """
    if not settings.download_weights:
        return HubUnavailable("The Hub is not asked, as downloadWeights is false.")
    try:
        return hub_of(settings).resolve(settings.model, settings.revision, settings.trust_remote_code)
    except HubError as error:
        return error


def settle(
    settings: Settings,
    answer: Resolved | TrtSparkError,
    nodes: Sequence[str],
    caches: Sequence[Mapping[str, Any]],
    shell: Callable[[], Shell],
    hub_of: Callable[[Settings], Hub] = default_hub,
) -> Found:
    """What will be served, with its shape. `nodes`, `caches`: head first; `shell`: to the head, when needed.

    Raises TrtSparkError when the model cannot be had.
    """
    if isinstance(answer, Resolved):
        resolved, why = answer, ""
    elif isinstance(answer, HubUnavailable):
        resolved, why = from_caches(settings, nodes, caches, answer), str(answer)
        listed = [asdict(file) for file in resolved.files.files]
        if problem := hub_names.wrong(resolved.files.commit, listed):
            raise HubError(f"{settings.model} in the nodes' caches: {problem}.")
    else:
        raise answer
    missing = any(missing_bytes(resolved.files, cache) for cache in caches)
    asked = bool(resolved.files.endpoint)
    if resolved.gated and missing:
        hub_of(settings).check_access(settings.model)
    known = shapes.remembered(resolved.files)
    if known is None:
        known = _shape(settings, resolved, caches[0], asked and missing, shell, hub_of)
        if known is not None:
            shapes.remember(resolved.files, known)
    return Found(resolved, shapes.model(known) if known else None, why)


def _shape(
    settings: Settings,
    resolved: Resolved,
    head: Mapping[str, Any],
    must: bool,
    shell: Callable[[], Shell],
    hub_of: Callable[[Settings], Hub],
) -> dict[str, Any] | None:
    """The head's files know it when they are there, else the Hub. `must`: its refusal is an error, as
    files have to be downloaded.
    """
    if head["commit"] == resolved.files.commit and not head["problems"]:
        known = shapes.on_node(shell(), settings.hf_cache, resolved.files)
        if known is not None:
            return known
    if not resolved.files.endpoint:
        return None
    try:
        return hub_of(settings).shape(resolved.files)
    except HubUnavailable:  # an estimate is worth no failed deployment
        return None
    except TrtSparkError:
        if must:
            raise
        return None
