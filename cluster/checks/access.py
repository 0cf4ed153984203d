"""Checks of what nothing goes without: an address, a GPU, Docker, and a settings file that can be read."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import preparation
from cluster.checks.table import Context, Finding, check
from cluster.facts import NO_NVIDIA_SMI, OF_DOCKER, Facts

#: What ends a shell's start-up file for whoever only runs a command.
INTERACTIVE = "[[ $- == *i* ]] || return"
#: Of what a login prints.
SHOWN_CHARS = 60


@check(
    "network.ipv4",
    "ssh reaches each node by IPv4.",
    "List it under nodes by its IPv4 address.",
    alone=True,
)
def ipv4(context: Context) -> Iterator[Finding]:
    """A name that leads to IPv6."""
    for facts in context.nodes:
        if facts.ipv6:
            own = [str(facts.address)] if int(facts.address) else _own(facts)
            known = f" ({' or '.join(own)})" if own else ""
            yield Finding(
                "FAIL",
                facts.node,
                f"ssh reached it at the IPv6 address {facts.ipv6}.",
                f"List it under nodes by its IPv4 address{known}: the ranks and the Swarm use that.",
            )


@check(
    "network.own-address",
    "Several nodes: each is reached at an address of its own that the others can reach, too.",
    "List it under nodes by the address of its own network interface (`ip -br addr` there).",
    alone=True,
)
def own_address(context: Context) -> Iterator[Finding]:
    """localhost, the machine's own name at 127.0.1.1, or an address that a router translates."""
    if len(context.settings.active_nodes) == 1:
        return
    for facts in context.nodes:
        why = not_its_own(facts)
        if why:
            own = " or ".join(_own(facts))
            yield Finding(
                "FAIL",
                facts.node,
                f"ssh reached it at {facts.address}, {why}.",
                "List it under nodes by an address of its own"
                f"{f': {own}' if own else ' (`ip -br addr` there)'}; the other nodes and its rank use that.",
            )


def not_its_own(facts: Facts) -> str:
    """Why other machines cannot use the address that ssh reached; "" where they can."""
    if facts.address.is_loopback:
        return "which other machines cannot reach"
    here = [one.ip for own in facts.interfaces.values() for one in own]
    if here and not facts.ipv6 and facts.address not in here:
        return "which none of its interfaces has (address translation, or a jump host)"
    return ""


def _own(facts: Facts) -> list[str]:
    """Addresses to list it by: the fabric's and Docker's own are not for that."""
    fabric = {hca.netdev for hca in facts.hcas}
    return [
        str(one.ip)
        for name, own in facts.interfaces.items()
        for one in own
        if name not in fabric
        and not name.startswith(OF_DOCKER)
        and not (one.ip.is_loopback or one.ip.is_link_local)
    ]


@check(
    "access.login-output",
    "A login prints nothing before a command's output.",
    f"Put what prints in ~/.bashrc behind a line `{INTERACTIVE}`.",
    alone=True,
)
def login_output(context: Context) -> Iterator[Finding]:
    """Our own programs survive it. Docker's connection over ssh, in Pulumi's Docker plugin, does not: it
    takes the first line for HTTP.
    """
    for facts in context.nodes:
        if facts.login_output:
            shown = " ".join(facts.login_output.split())[:SHOWN_CHARS] or "an empty line"
            yield Finding(
                "FAIL",
                facts.node,
                f"its login prints {shown!r} before a command's output, which breaks Docker's connection "
                "over ssh.",
                f"In ~/.bashrc (or ~/.zshenv) of user {facts.user}, put what prints behind a line "
                f"`{INTERACTIVE}`; `ssh {facts.user}@{facts.node} true` then prints nothing.",
            )


@check(
    "gpu.found",
    "nvidia-smi lists a GPU.",
    "After a driver update, reboot the machine; `nvidia-smi -L` lists its GPU.",
    alone=True,
)
def gpu(context: Context) -> Iterator[Finding]:
    """No driver, or a driver that finds nothing, as after an update of half the packages."""
    for facts in context.nodes:
        if facts.gpu_problem == NO_NVIDIA_SMI:
            yield Finding(
                "FAIL",
                facts.node,
                "nvidia-smi is not there.",
                "Install NVIDIA's driver (a Spark has it: is this host one?).",
            )
        elif facts.gpu_problem:
            yield Finding(
                "FAIL",
                facts.node,
                f"no GPU found: nvidia-smi says {facts.gpu_problem!r}.",
                "Check that `nvidia-smi -L` lists one; after a driver update, reboot the machine.",
            )


@check(
    "docker.answers",
    "Docker is installed and running, and answers the user.",
    "Install or start it; `sudo usermod -aG docker USER`, then log in again (or `dockerGroup: true`).",
    alone=True,
)
def docker(context: Context) -> Iterator[Finding]:
    """Missing, not running, or not for this user."""
    for facts in context.nodes:
        match facts.docker.problem:
            case "missing":
                yield Finding(
                    "FAIL",
                    facts.node,
                    "Docker is not installed.",
                    "Install it (DGX OS: `sudo apt-get install docker-ce docker-ce-cli containerd.io`).",
                )
            case "denied" | "" if context.settings.docker_group and "docker" not in facts.groups:
                continue  # preparing puts the user into the group
            case "" if preparation.lost_group(facts):
                yield Finding(
                    "FAIL",
                    facts.node,
                    f"user {facts.user} is no longer in group docker: the next login may not use its socket.",
                    _way_in(facts),
                )
            case "denied":
                yield Finding(
                    "FAIL",
                    facts.node,
                    f"user {facts.user} may not use Docker's socket.",
                    _way_in(facts),
                )
            case "silent":
                yield Finding(
                    "FAIL",
                    facts.node,
                    f"Docker does not answer ({facts.docker.said}).",
                    "Start it there with `sudo systemctl start docker`; its log: `journalctl -u docker`.",
                )


def _way_in(facts: Facts) -> str:
    if "docker" in facts.groups and "docker" not in facts.login_groups:
        return "The user is in group docker since this login began: run the same again, or log in again."
    return (
        f"Run there `sudo usermod -aG docker {facts.user}`, then log in again; or have it done: "
        "`pulumi config set dockerGroup true`."
    )


@check(
    "docker.settings-file",
    "/etc/docker/daemon.json can be read, or is not there.",
    "Mend it by hand (`sudo dockerd --validate` checks it); it is never overwritten.",
    alone=True,
)
def settings_file(context: Context) -> Iterator[Finding]:
    """Not readable, not JSON, or no JSON object."""
    for facts in context.nodes:
        problem = facts.daemon_json_problem
        if not problem:
            continue
        todo = "Mend it by hand (`sudo dockerd --validate` checks it); it was not touched."
        if "Is a directory" in problem:
            todo = "Docker makes one where a container mounts the file: `sudo rmdir /etc/docker/daemon.json`."
        elif facts.daemon_json_unreadable:
            todo = "Let it be read there with `sudo chmod a+r /etc/docker/daemon.json`."
        yield Finding("FAIL", facts.node, problem, todo)
