"""Checks of Docker and its settings."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check
from cluster.facts import Facts


@check(
    "docker.live-restore",
    "Docker runs without live-restore, which excludes Swarm.",
    'Take "live-restore" out of /etc/docker/daemon.json and restart Docker.',
)
def live_restore(context: Context) -> Iterator[Finding]:
    """Swarm refuses to start with it, and a Docker with both does not start again."""
    for facts in context.nodes:
        if facts.docker.live_restore:
            yield Finding(
                "FAIL",
                facts.node,
                "Docker runs with live-restore, which Swarm refuses.",
                'Take "live-restore" out of /etc/docker/daemon.json and restart Docker.',
            )


@check(
    "docker.sudo",
    "Where Docker is not yet prepared for the GPU, sudo works without a password.",
    "docs/preparing.md has the lines that allow the few commands needed.",
)
def sudo(context: Context) -> Iterator[Finding]:
    """Preparing needs a few commands as root."""
    for facts in context.nodes:
        if not prepared(facts) and not facts.sudo:
            yield Finding(
                "FAIL",
                facts.node,
                f"Docker has to be prepared for the GPU, and sudo asks user {facts.user} for a password.",
                "docs/preparing.md has the lines that allow the few commands needed.",
            )


def prepared(facts: Facts) -> bool:
    """Whether file and running daemon both hand out this node's GPU."""
    settings = facts.daemon_json
    return bool(
        settings.get("default-runtime") == "nvidia"
        and f"NVIDIA_GPU={facts.gpu_uuid}" in settings.get("node-generic-resources", [])
        and facts.docker.default_runtime == "nvidia"
    )
