"""Checks of Docker and its settings, and of what preparing will do to them."""

from __future__ import annotations

import shlex
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
            why, todo = _refusal(facts.sudo_said, facts.user)
            yield Finding("FAIL", facts.node, f"Docker has to be prepared for the GPU, and {why}.", todo)


def _refusal(said: str, user: str) -> tuple[str, str]:
    """Why sudo did not run a command, by its own words, and what helps."""
    lines = f"paste what `trtspark init --user {user} --print-sudoers` prints (docs/preparing.md)"
    if "No such file" in said or "not found" in said:
        return (
            "sudo is not installed",
            f"As root there: `apt-get install sudo`, then {lines}.",
        )
    if "must have a tty" in said:
        return (
            f"sudo wants a terminal ({said!r}: requiretty)",
            f"Run `sudo visudo` there in a terminal, and add the line `Defaults:{user} !requiretty`.",
        )
    if "not in the sudoers" in said or "may not run sudo" in said or "not allowed to" in said:
        return (
            f"sudo refuses user {user} ({said!r})",
            f"As an administrator there: `sudo usermod -aG sudo {user}`, and {lines}.",
        )
    if not said or "password is required" in said or "authentication is required" in said:
        return f"sudo asks user {user} for a password", f"There, {lines}."
    return (
        f"sudo fails for user {user} ({said!r})",
        "Correct that there until `sudo -n true` works.",
    )


@check(
    "docker.settings-link",
    "The files that preparing changes are files, not symbolic links.",
    "Put the file itself in the link's place.",
    alone=True,
)
def settings_link(context: Context) -> Iterator[Finding]:
    """Whoever keeps them elsewhere would find them changed there, or the link gone."""
    limit = context.settings.gpu_clock_limit
    for facts in context.nodes:
        for path, target in sorted(facts.links.items()):
            capping = limit and gpu_clock.steps(facts, limit)
            if capping if path == gpu_clock.UNIT else preparation.steps(facts):
                yield Finding(
                    "FAIL",
                    facts.node,
                    f"{path} is a symbolic link to {target}, and preparing changes no file behind a link.",
                    f"Put a file in its place: `sudo cp --remove-destination {shlex.quote(target)} "
                    f"{shlex.quote(path)}` there (or `sudo rm {shlex.quote(path)}` if it leads nowhere).",
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
