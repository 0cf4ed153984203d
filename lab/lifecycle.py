"""Bring a lab up, repair it, take it down."""

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

from lab import cgroups, disk, names, network, node, registry
from lab.errors import LabError
from lab.hub import service as hub
from lab.shell import run
from lab.state import CACHE, Lab, Node, Plan, command, write_json
from lab.variants import Variant, parse, variant_of

HERE = Path(__file__).parent
Say = Callable[[str], None]


def up(lab: Lab, nodes: int | None, variants: list[str], say: Say) -> None:
    """Bring the lab up with `nodes` Sparks (None: as many as it has, or 2), or repair it.

    Raises:
        LabError: something did not start in time, or the lab is there but with other Sparks.
    """
    with lab.locked():
        plan = _plan(lab, nodes, variants)
        lan = IPv4Network(plan.subnet)
        if not network.switched_on(lab):
            for each in lab.nodes(plan):
                _power_off(lab, each)
            network.remove_switch(lab)
            network.build_switch(lab, lan)
        if not lab.identity.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", lab.identity)
        operator = str(names.operator_address(lan))
        registry.start(lab, operator)
        hub.start(lab, operator)

        def ready(each: Node) -> None:
            if _power_on(lab, plan, each):
                say(f"{each.name} is up: {each.host}")

        with ThreadPoolExecutor(plan.nodes + 1) as workers:
            image = workers.submit(_publish, lab, f"{operator}:{registry.PORT}", say)
            for done in [workers.submit(ready, each) for each in lab.nodes(plan)]:
                done.result()
            _describe(lab, plan, image.result())


def _plan(lab: Lab, nodes: int | None, variants: list[str]) -> Plan:
    old = lab.read_plan()
    count = nodes or (old.nodes if old else 2)
    wanted = parse(variants, [names.node_name(number) for number in range(1, count + 1)])
    if old and count < old.nodes:
        raise LabError(
            f"Lab {lab.name!r} has {old.nodes} nodes. Take it down first: {command(lab.name, 'down')}"
        )
    if (
        old
        and variants
        and any(old.variants.get(name) != wanted.get(name) for name in _names(min(old.nodes, count)))
    ):
        raise LabError(
            f"The nodes of lab {lab.name!r} are of other variants: they get theirs at their first"
            f" boot. Take the lab down first: {command(lab.name, 'down')}"
        )
    subnet = old.subnet if old else str(names.subnet(lab.id, network.host_routes()))
    plan = Plan(subnet, count, {**(old.variants if old else {}), **wanted})
    if plan != old:
        lab.write_plan(plan)
    return plan


def _names(count: int) -> list[str]:
    return [names.node_name(number) for number in range(1, count + 1)]


def power_on(lab: Lab, name: str) -> None:
    """Boot a node again and wait until it is ready; nothing happens when it runs."""
    with lab.locked():
        each = lab.node(name)
        plan = lab.read_plan()
        assert plan is not None  # lab.node() found one
        _power_on(lab, plan, each)


def power_off(lab: Lab, name: str) -> None:
    """Cut a node's power: its links go first, then all its processes."""
    with lab.locked():
        _power_off(lab, lab.node(name))


def _power_on(lab: Lab, plan: Plan, each: Node) -> bool:
    """Return whether it had to be booted."""
    variant = variant_of(plan.variants.get(each.name, []))
    lan = IPv4Network(plan.subnet)
    if node.has_power(each):
        for link, state in network.link_states(lab, each).items():
            if state == "down":
                network.set_link(lab, each, link, up=True)
        if _expected(variant) is node.Docker.RUNS and not node.docker_answers(each):
            node.run_inside(each, "systemctl", "reset-failed", "docker")
            node.run_inside(each, "systemctl", "start", "docker")
        node.wait_until_ready(each, _expected(variant))
        return False
    _power_off(lab, each)
    each.folder.mkdir(parents=True, exist_ok=True)
    if each.disk.exists():
        disk.refresh_tools(each)
    else:
        disk.write(lab, each, variant)
    address = f"{names.operator_address(lan)}:{registry.PORT}"
    disk.trust_registry(each, address, registry.ca(lab))
    network.plug_in(lab, each, lan)
    node.boot(each)
    node.wait_until_ready(each, _expected(variant))
    return True


def _expected(variant: Variant) -> node.Docker:
    if not variant.docker:
        return node.Docker.OFF
    return node.Docker.STARTED if variant.daemon_json else node.Docker.RUNS


def _power_off(lab: Lab, each: Node) -> None:
    network.unplug(lab, each)
    node.cut(each)


def _publish(lab: Lab, address: str, say: Say) -> str:
    """Push the serving image unless this registry has it from the same sources; return its name."""
    from lab import image

    sources = sorted([*HERE.glob("image*.py"), *(HERE / "engine").rglob("*")])
    state = "\n".join(
        f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sources
        if path.is_file() and "__pycache__" not in path.parts
    )
    stamp = lab.registry / "published.json"
    mark = hashlib.sha256(state.encode()).hexdigest()
    try:
        published = json.loads(stamp.read_text())
    except FileNotFoundError:
        published = {}
    if published.get("sources") != mark:
        name = image.publish(address, registry.ca(lab), CACHE, say=say)
        published = {"sources": mark, "image": name}
        write_json(stamp, published)
    return str(published["image"])


def _describe(lab: Lab, plan: Plan, image: str) -> None:
    """Write lab.json and the operator's known_hosts."""
    lan = IPv4Network(plan.subnet)
    nodes = lab.nodes(plan)
    keys = {each.name: disk.host_key(each) for each in nodes}
    lab.known_hosts.write_text("".join(f"{each.host} {keys[each.name]}\n" for each in nodes))
    write_json(
        lab.description,
        {
            "id": lab.id,
            "name": lab.name,
            "subnet": plan.subnet,
            "operator_ip": str(names.operator_address(lan)),
            "registry": f"{names.operator_address(lan)}:{registry.PORT}",
            "image": image,
            **hub.described(lab, str(names.operator_address(lan))),
            "identity": str(lab.identity),
            "known_hosts": str(lab.known_hosts),
            "nodes": [
                {
                    "name": each.name,
                    "host": str(each.host),
                    "port": 22,
                    "user": disk.USER,
                    "host_key": keys[each.name],
                    "fabric": [str(address) for address in each.fabric],
                }
                for each in nodes
            ],
        },
    )


def down(lab: Lab) -> bool:
    """Remove everything the lab made, however much of it there is; return whether there was any."""
    there = lab.folder.exists() or network.switched_on(lab)
    with lab.locked():
        plan = lab.read_plan()
        for each in lab.nodes(plan) if plan else []:
            network.unplug(lab, each)
        cgroups.kill(lab.id)
        cgroups.remove(lab.id)
        registry.stop(lab)
        hub.stop(lab)
        network.remove_switch(lab)
        shutil.rmtree(lab.folder)
    return there
