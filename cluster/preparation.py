"""What a node must have so that Swarm hands out its GPU, as found and as wanted: a line for each thing.

The work is remote/node/gpu_runtime.py's, which decides on the machine itself; here is what the preview
shows, what `pulumi refresh` compares, and what the checks warn of.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.facts import Facts
from cluster.service_spec import GPU_KIND

#: The variable in which Swarm tells a task its GPU of that kind; the runtime looks where config.toml says.
SWARM_RESOURCE = f"DOCKER_RESOURCE_{GPU_KIND}"
GROUP = "group docker"
RUNTIME, DEFAULT, GPU = (
    f"daemon.json {key}" for key in ("runtimes.nvidia", "default-runtime", "node-generic-resources")
)
LINE = "config.toml swarm-resource"
HAS_RUNTIME, HAS_DEFAULT, HAS_GPU = (f"running Docker {key}" for key in ("runtime", "default runtime", "GPU"))
UNSEEN = "not seen"
NONE = "none"


def found(facts: Facts) -> dict[str, str]:
    """Each thing as the machine has it."""
    settings, docker = facts.daemon_json, facts.docker
    runtimes, resources = settings.get("runtimes"), settings.get("node-generic-resources")
    things = {
        GROUP: "member" if _member(facts) else "not a member",
        RUNTIME: "there" if isinstance(runtimes, Mapping) and "nvidia" in runtimes else NONE,
        DEFAULT: str(settings.get("default-runtime") or NONE),
        GPU: _offered(resources if isinstance(resources, list) else []),
        LINE: _line(facts),
        HAS_RUNTIME: "there" if "nvidia" in docker.runtimes else NONE,
        HAS_DEFAULT: docker.default_runtime or NONE,
        HAS_GPU: _offered(docker.generic_resources),
    }
    if docker.problem:
        things |= dict.fromkeys((HAS_RUNTIME, HAS_DEFAULT, HAS_GPU), UNSEEN)
    return things


def wanted(facts: Facts) -> dict[str, str]:
    """Each thing as it should be on this machine."""
    gpu = f"{GPU_KIND}={facts.gpu_uuid}"
    return {
        GROUP: "member",
        RUNTIME: "there",
        DEFAULT: "nvidia",
        GPU: gpu,
        LINE: SWARM_RESOURCE if facts.container_toolkit.config else "no config.toml",
        HAS_RUNTIME: "there",
        HAS_DEFAULT: "nvidia",
        HAS_GPU: gpu,
    }


def steps(facts: Facts) -> list[str]:
    """What `up` will do there, a line each; [] when all is as it should be."""
    now, then = found(facts), wanted(facts)
    listed = [f"{thing}: {now[thing]} -> {then[thing]}" for thing in then if now[thing] != then[thing]]
    if restarts(facts):
        listed.append("Docker restarts")
    return listed


def restarts(facts: Facts) -> bool:
    """Whether Docker has to be restarted: a GPU that it does not offer yet is not taken by a reload."""
    return found(facts)[HAS_GPU] != wanted(facts)[HAS_GPU]


def needs_root(facts: Facts) -> bool:
    """Whether anything has to be changed there."""
    return bool(steps(facts))


def lost_group(facts: Facts) -> bool:
    """Whether only this login, being older, still has the group that its user is no longer in."""
    return "docker" in facts.login_groups and "docker" not in facts.groups


def _member(facts: Facts) -> bool:
    """As good as one, too: whom the socket lets in otherwise."""
    otherwise = not facts.docker.problem and not lost_group(facts)
    return "docker" in facts.groups or facts.user == "root" or otherwise


def _offered(resources: list[str] | tuple[str, ...]) -> str:
    return ", ".join(one for one in map(str, resources) if one.partition("=")[0] == GPU_KIND) or NONE


def _line(facts: Facts) -> str:
    toolkit = facts.container_toolkit
    if not toolkit.config:
        return "no config.toml"
    names = [name.strip() for name in toolkit.swarm_resource.split(",")]
    return SWARM_RESOURCE if SWARM_RESOURCE in names else toolkit.swarm_resource or "not set"
