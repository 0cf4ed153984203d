"""What can be known to be wrong before anything is touched: facts of all nodes against the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster import catalog
from cluster.config import Settings
from cluster.errors import NotPrepared, PlanError, TrtSparkError
from cluster.facts import Facts

#: Addresses of a listener that keep us from binding the head's own address.
_ANY = ("0.0.0.0", "::")


def problems(
    stack: str,
    settings: Settings,
    nodes: Sequence[Facts],
    caches: Sequence[Mapping[str, Any]],
) -> list[TrtSparkError]:
    """Everything that would stop a deployment; `caches[i]` is remote/node/hub_cache.py's answer of node i."""
    found: list[TrtSparkError] = []
    found += _same_machine(nodes)
    for facts in nodes:
        found += _docker_settings(facts)
    if settings.running:
        found += _port(stack, settings.port, nodes[0])
        found += _weights(settings, nodes, caches)
    return found


def _same_machine(nodes: Sequence[Facts]) -> list[TrtSparkError]:
    seen: dict[str, str] = {}
    found: list[TrtSparkError] = []
    for facts in nodes:
        if facts.gpu_uuid in seen:
            found.append(
                PlanError(
                    f"{facts.node} and {seen[facts.gpu_uuid]} are the same machine ({facts.hostname}, "
                    f"{facts.gpu_uuid}). List each Spark once under nodes."
                )
            )
        seen.setdefault(facts.gpu_uuid, facts.node)
    return found


def _docker_settings(facts: Facts) -> list[TrtSparkError]:
    found: list[TrtSparkError] = []
    if facts.docker.live_restore:
        found.append(
            NotPrepared(
                facts.node,
                "Docker runs with live-restore, which Swarm refuses.",
                'Take "live-restore" out of /etc/docker/daemon.json and restart Docker.',
            )
        )
    settings = facts.daemon_json
    prepared = (
        settings.get("default-runtime") == "nvidia"
        and f"NVIDIA_GPU={facts.gpu_uuid}" in settings.get("node-generic-resources", [])
        and facts.docker.default_runtime == "nvidia"
    )
    if not prepared and not facts.sudo:
        found.append(
            NotPrepared(
                facts.node,
                f"Docker has to be prepared for the GPU, and sudo asks user {facts.user} for a password.",
                "docs/preparing.md has the lines that allow the few commands needed.",
            )
        )
    return found


def _port(stack: str, port: int, head: Facts) -> list[TrtSparkError]:
    ours = any(rank == (stack, "0", str(port)) for rank in head.ranks)
    taken = any(
        number == port and (address in _ANY or address == str(head.address))
        for address, number in head.listening
    )
    if ours or not taken:
        return []
    other = next((rank[0] for rank in head.ranks if rank[2] == str(port)), None)
    by = f"stack {other}" if other else "another program"
    return [
        NotPrepared(
            head.node,
            f"port {port} is in use by {by}.",
            f"Stop it (`sudo ss -ltnp 'sport = :{port}'` names it), or choose another: "
            f"`pulumi config set port {port + 1}`.",
        )
    ]


def _weights(
    settings: Settings, nodes: Sequence[Facts], caches: Sequence[Mapping[str, Any]]
) -> list[TrtSparkError]:
    model = settings.model
    found: list[TrtSparkError] = []
    for facts, cache in zip(nodes, caches, strict=True):
        if cache["commit"] is None:
            close = catalog.suggestions(model, also=cache["models"])
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            found.append(
                NotPrepared(
                    facts.node,
                    f"model {model} is not in {cache['folder']}.",
                    f"This version does not fetch weights yet: run there `hf download {model}`.{hint}",
                )
            )
        elif cache["problems"]:
            found.append(
                NotPrepared(
                    facts.node,
                    f"model {model} is not whole in {cache['folder']}: {'; '.join(cache['problems'][:3])}.",
                    f"Fetch what is missing: run there `hf download {model}`.",
                )
            )
    commits = {cache["commit"] for cache in caches}
    if not found and len(commits) > 1:
        listed = ", ".join(
            f"{facts.node} has {cache['commit'][:12]}" for facts, cache in zip(nodes, caches, strict=True)
        )
        found.append(
            PlanError(
                f"model {model} is at different revisions: {listed}. "
                f"Run `hf download {model}` on the node that is behind."
            )
        )
    if not found and catalog.needs_tiktoken(model) and not caches[0]["tiktoken"]:
        folder = caches[0]["folder"]
        found.append(
            NotPrepared(
                nodes[0].node,
                f"{model} needs OpenAI's vocabularies, and {folder}/tiktoken-encodings lacks them.",
                "Put o200k_base.tiktoken and cl100k_base.tiktoken there "
                "(from openaipublic.blob.core.windows.net/encodings).",
            )
        )
    return found
