"""What a lab looks like from outside."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import network, node, registry
from lab.state import Lab, Node, command


def look(lab: Lab) -> dict[str, Any]:
    """Return {"name", "up", "registry", "nodes": [{"name", "host", "power", "ssh", "docker", "links"}]}.

    "up" is whether everything of it works; "links" are as the switch sees them.
    """
    plan = lab.read_plan()
    nodes = lab.nodes(plan) if plan else []
    with ThreadPoolExecutor(len(nodes) or 1) as workers:
        seen = list(workers.map(lambda each: _look_at(lab, each), nodes))
    return {
        "name": lab.name,
        "up": bool(seen) and all(each["ssh"] and each["docker"] for each in seen),
        "registry": registry.running(lab),
        "nodes": seen,
    }


def _look_at(lab: Lab, each: Node) -> dict[str, Any]:
    power = node.has_power(each)
    return {
        "name": each.name,
        "host": str(each.host),
        "power": "on" if power else "off",
        "ssh": power and node.ssh_answers(each),
        "docker": power and node.docker_answers(each),
        "links": network.link_states(lab, each),
    }


def table(seen: dict[str, Any]) -> str:
    """Return it for a person."""
    if not seen["nodes"]:
        return f"There is no lab {seen['name']!r}. Start it: {command(seen['name'], 'up')}"
    lines = [f"{'NODE':9} {'HOST':15} {'POWER':6} {'SSH':4} {'DOCKER':7} LINKS"]
    for each in seen["nodes"]:
        links = " ".join(f"{link} {state}" for link, state in each["links"].items()) or "-"
        ssh, docker = ("yes" if each[name] else "no" for name in ("ssh", "docker"))
        lines.append(f"{each['name']:9} {each['host']:15} {each['power']:6} {ssh:4} {docker:7} {links}")
    return "\n".join(lines)
