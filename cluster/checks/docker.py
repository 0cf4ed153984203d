"""Checks of Docker and its settings, and of what preparing will do to them."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import gpu_clock, preparation
from cluster.checks.table import Context, Finding, check
from cluster.facts import Facts

LIVE_RESTORE = 'Take "live-restore" out of /etc/docker/daemon.json (or off dockerd\'s command line: ' + (
    "`systemctl cat docker`) and restart Docker."
)
#: dockerd does not start when these are on its command line and in daemon.json; `--add-runtime` may be.
FLAGS = {"--default-runtime": "default-runtime", "--node-generic-resource": "node-generic-resources"}


@check(
    "docker.live-restore",
    "Docker runs without live-restore, which excludes Swarm, and does not have it in its settings either.",
    LIVE_RESTORE,
    alone=True,
)
def live_restore(context: Context) -> Iterator[Finding]:
    """Swarm refuses to start with it, and a Docker that is in a Swarm does not start again with it."""
    for facts in context.nodes:
        if facts.docker.live_restore:
            yield Finding(
                "FAIL", facts.node, "Docker runs with live-restore, which Swarm refuses.", LIVE_RESTORE
            )
        elif facts.daemon_json.get("live-restore"):
            yield Finding(
                "FAIL",
                facts.node,
                "daemon.json has live-restore, which the running Docker has not read yet: with a Swarm it "
                "would not start again.",
                'Take "live-restore" out of /etc/docker/daemon.json.',
            )


@check(
    "docker.sudo",
    "Where Docker is not yet prepared for the GPU, sudo works without a password.",
    "`trtspark init --print-sudoers` prints the lines that allow the few commands needed.",
    alone=True,
)
def sudo(context: Context) -> Iterator[Finding]:
    """Preparing needs a few commands as root."""
    for facts in context.nodes:
        if preparation.steps(facts) and not facts.sudo:
            yield Finding(
                "FAIL",
                facts.node,
                f"Docker has to be prepared for the GPU, and sudo asks user {facts.user} for a password.",
                f"Paste there what `trtspark init --user {facts.user} --print-sudoers` prints "
                "(docs/preparing.md).",
            )


@check(
    "gpu.clock",
    "Where gpuClockLimit asks for a cap that is not set yet, sudo works without a password.",
    "`trtspark init --print-sudoers` prints the lines that allow the few commands needed.",
    alone=True,
)
def clock(context: Context) -> Iterator[Finding]:
    """Setting it needs a few commands as root."""
    limit = context.settings.gpu_clock_limit
    for facts in context.nodes:
        if limit and gpu_clock.steps(facts, limit) and not facts.sudo:
            yield Finding(
                "FAIL",
                facts.node,
                f"its GPU is to be capped at {limit} MHz, and sudo asks user {facts.user} for a password.",
                f"Paste there what `trtspark init --user {facts.user} --print-sudoers` prints "
                "(docs/preparing.md).",
            )


@check(
    "docker.options",
    "dockerd's command line sets none of the keys that preparing writes into daemon.json.",
    "Take them out of Docker's unit (`systemctl cat docker`) and restart Docker.",
    alone=True,
)
def options(context: Context) -> Iterator[Finding]:
    """With a key in both places dockerd does not start; with another settings file it reads none of ours."""
    for facts in context.nodes:
        if facts.docker.config_file and preparation.steps(facts):
            yield Finding(
                "FAIL",
                facts.node,
                f"dockerd reads its settings from {facts.docker.config_file} (--config-file).",
                "Preparing knows /etc/docker/daemon.json only: move them there (`systemctl cat docker` has "
                "the option).",
            )
        both = [key for flag, key in FLAGS.items() if flag in facts.docker.flags]
        if both:
            yield Finding(
                "FAIL",
                facts.node,
                f"dockerd has {' and '.join(both)} on its command line, and would not start with it in "
                "daemon.json too.",
                "Take it out of Docker's unit (`systemctl cat docker`) and restart Docker.",
            )


@check(
    "docker.restart",
    "Docker need not be restarted: it offers the GPU already.",
    "Stop by hand what must not be stopped so, or let it come back by itself: `docker update --restart "
    "unless-stopped CONTAINER`.",
    "WARN",
    "NOTE",
    alone=True,
)
def restart(context: Context) -> Iterator[Finding]:
    """What the restart stops, and what of it comes back; one that stops nothing is no warning."""
    for facts in context.nodes:
        if facts.docker.problem not in ("", "denied") or facts.gpu_problem:
            continue
        if not preparation.restarts(facts):
            continue
        found = "Docker will restart, because it takes its GPU from its settings at a start only."
        quiet = not facts.docker.problem and not facts.docker.containers
        yield Finding("NOTE" if quiet else "WARN", facts.node, found, _stopped(facts))


def _stopped(facts: Facts) -> str:
    if facts.docker.problem:
        return "Which containers that stops cannot be seen before its user is in group docker."
    containers = facts.docker.containers
    lost = [one.name for one in containers if not one.restarts]
    back = [one.name for one in containers if one.restarts]
    if not containers:
        return "No container runs there."
    said = [f"It stops {_listed(lost)}: start them again by hand."] if lost else []
    return " ".join(
        [*said, f"Stopped and started again by their own policy: {_listed(back)}."] if back else said
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
