"""Bring a lab up, repair it, take it down."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from lab import cabling, cgroups, disk, engines, names, network, node, registry
from lab.errors import LabError
from lab.hub import service as hub
from lab.shell import run
from lab.state import CACHE, DISKS, Lab, Node, Plan, command, hand_over, orphans, write_json
from lab.variants import TOOLKITS, Variant, parse

HERE = Path(__file__).parent
Say = Callable[[str], None]
#: A release, and what its image lacks (lab/image.py).
_IMAGE = re.compile(r"\d+\.\d+\.\d+(rc\d+)?(-nossh|-noserve)?")


@dataclass(frozen=True)
class Wanted:
    """What `up` is asked for; None is "as it is, or the default"."""

    nodes: int | None = None
    variants: list[str] = field(default_factory=list)
    fabric: str | None = None
    docker: str | None = None
    images: list[str] = field(default_factory=list)


def up(lab: Lab, wanted: Wanted, say: Say) -> None:
    """Bring the lab up as wanted, or repair it.

    Raises:
        LabError: something did not start in time, or the lab is there but with other Sparks.
    """
    with lab.locked():
        plan = _plan(lab, wanted)
        lab.make_store()
        _check_store(lab.store)
        for left in orphans():
            say(f"{left} belongs to a lab whose checkout is gone. Remove it: sudo rm -rf {left}")
        lan = IPv4Network(plan.subnet)
        if not network.switched_on(lab):
            for each in lab.nodes(plan):
                _power_off(lab, each)
            network.remove_switch(lab)
            network.build_switch(lab, lan, plan.fabric)
        if not lab.identity.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", lab.identity)
        programs = {each.name: _programs(plan, each.variant, say) for each in lab.nodes(plan)}
        operator = str(names.operator_address(lan))
        registry.start(lab, operator)
        hub.start(lab, operator)

        def ready(each: Node) -> None:
            if _power_on(lab, plan, each, programs[each.name]):
                say(f"{each.name} is up: {each.host}")

        with ThreadPoolExecutor(plan.nodes + 1) as workers:
            images = workers.submit(_publish, lab, plan, f"{operator}:{registry.PORT}", say)
            for done in [workers.submit(ready, each) for each in lab.nodes(plan)]:
                done.result()
            _describe(lab, plan, images.result())


def _check_store(store: Path) -> None:
    """Raise LabError where no node's disk can be: it is the upper layer of an overlay.

    Overlays themselves (a container's root) and network file systems refuse these attributes.
    """
    try:
        os.setxattr(store, "trusted.overlay.opaque", b"y")
        os.removexattr(store, "trusted.overlay.opaque")
    except OSError as error:
        raise LabError(
            f"{store} cannot hold a node's disk: its file system refuses overlay's attributes"
            f" ({error.strerror}). Name a folder on ext4, xfs or tmpfs: TRTSPARK_LAB_DISKS=/PATH"
        ) from None


def _plan(lab: Lab, wanted: Wanted) -> Plan:
    old = lab.read_plan()
    count = wanted.nodes or (old.nodes if old else 2)
    variants = parse(wanted.variants, _names(count))
    fabric = wanted.fabric or (old.fabric if old else cabling.default_shape(count))
    if fabric == "direct" and count > 2:
        raise LabError("A direct cable joins two nodes: more need --fabric ring or switch.")
    if fabric == "ring" and count != cabling.RING_NODES:
        raise LabError(f"--fabric ring is for {cabling.RING_NODES} nodes, this lab has {count}.")
    docker = wanted.docker or (old.docker if old else "")
    images = sorted({*(old.images if old else []), *wanted.images})
    if wrong := [version for version in images if not _IMAGE.fullmatch(version)]:
        raise LabError(f"--image {wrong[0]}: it is written like 1.3.0rc27 or 1.3.0rc5-nossh.")
    if old and docker != old.docker:
        raise LabError(
            f"Lab {lab.name!r} has the Docker it was made with. Take it down first:"
            f" {command(lab.name, 'down')}"
        )
    if old:
        _refuse_another(lab, old, count, fabric, variants if wanted.variants else None)
    subnet = old.subnet if old else str(names.subnet(lab.id, network.host_routes()))
    store = old.store if old else str(DISKS / lab.id)
    plan = Plan(subnet, count, {**(old.variants if old else {}), **variants}, fabric, docker, images, store)
    if plan != old:
        lab.write_plan(plan)
    return plan


def _refuse_another(
    lab: Lab, old: Plan, count: int, fabric: str, variants: dict[str, list[str]] | None
) -> None:
    """Raise LabError where the lab that is there would have to be another."""
    remedy = f"Take the lab down first: {command(lab.name, 'down')}"
    if count < old.nodes:
        raise LabError(f"Lab {lab.name!r} has {old.nodes} nodes. {remedy}")
    if fabric != old.fabric:
        raise LabError(f"Lab {lab.name!r} is cabled otherwise ({old.fabric}). {remedy}")
    present = _names(min(old.nodes, count))
    if variants and any(old.variants.get(name) != variants.get(name) for name in present):
        raise LabError(
            f"The nodes of lab {lab.name!r} are of other variants: they get theirs at their first"
            f" boot. {remedy}"
        )


def _programs(plan: Plan, variant: Variant, say: Say) -> dict[str, Path]:
    """Return what a node has in place of the system's programs; builds what the cache lacks."""
    found = engines.docker(say) if plan.docker else {}
    version = variant.toolkit or (TOOLKITS[-1] if plan.docker else "")
    return found | (engines.toolkit(version, say) if version else {})


def _names(count: int) -> list[str]:
    return [names.node_name(number) for number in range(1, count + 1)]


def power_on(lab: Lab, name: str) -> None:
    """Boot a node again and wait until it is ready; nothing happens when it runs."""
    with lab.locked():
        each = lab.node(name)
        plan = lab.read_plan()
        assert plan is not None  # lab.node() found one
        _power_on(lab, plan, each, _programs(plan, each.variant, print))


def power_off(lab: Lab, name: str) -> None:
    """Cut a node's power: its links go first, then all its processes."""
    with lab.locked():
        _power_off(lab, lab.node(name))


def _power_on(lab: Lab, plan: Plan, each: Node, programs: dict[str, Path]) -> bool:
    """Return whether it had to be booted."""
    lan, expected = IPv4Network(plan.subnet), _expected(each.variant)
    if node.has_power(each):
        for link, state in network.link_states(lab, each).items():
            if state == "down":
                network.set_link(lab, each, link, up=True)
        if expected is node.Docker.RUNS and not node.docker_answers(each):
            node.run_inside(each, "systemctl", "reset-failed", "docker")
            node.run_inside(each, "systemctl", "start", "docker")
        node.wait_until_ready(each, expected)
        return False
    _power_off(lab, each)
    each.folder.mkdir(parents=True, exist_ok=True)
    if each.disk.exists():
        disk.refresh_tools(each)
    else:
        disk.write(lab, each, lan)
    disk.install_programs(each, programs)
    address = f"{names.operator_address(lan)}:{registry.PORT}"
    disk.trust_registry(each, address, registry.ca(lab))
    network.plug_in(lab, each)
    node.boot(each)
    node.wait_until_ready(each, expected)
    return True


def _expected(variant: Variant) -> node.Docker:
    if not variant.docker:
        return node.Docker.OFF
    return node.Docker.STARTED if variant.may_refuse_settings else node.Docker.RUNS


def _power_off(lab: Lab, each: Node) -> None:
    network.unplug(lab, each)
    node.cut(each)


def _publish(lab: Lab, plan: Plan, address: str, say: Say) -> dict[str, str]:
    """Push the serving images unless this registry has them from the same sources.

    Return {version: name}, the usual one first.
    """
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
        published = {"sources": mark, "images": {}}
    names_of: dict[str, str] = published["images"]
    wanted = [image.VERSION, *(version for version in plan.images if version != image.VERSION)]
    for version in wanted:
        if version not in names_of:
            names_of[version] = image.publish(address, registry.ca(lab), CACHE, version=version, say=say)
            write_json(stamp, published)
    return {version: names_of[version] for version in wanted}


def _describe(lab: Lab, plan: Plan, images: dict[str, str]) -> None:
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
            "image": next(iter(images.values())),
            "images": images,
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
                    "fabric": each.fabric,
                }
                for each in nodes
            ],
        },
    )
    if lab.store != lab.folder:
        hand_over(lab.folder)


def down(lab: Lab) -> bool:
    """Remove everything the lab made, however much of it there is; return whether there was any."""
    there = lab.folder.exists() or lab.store.exists() or network.switched_on(lab)
    with lab.locked():
        plan = lab.read_plan()
        for each in lab.nodes(plan) if plan else []:
            network.unplug(lab, each)
        cgroups.kill(lab.id)
        cgroups.remove(lab.id)
        registry.stop(lab)
        hub.stop(lab)
        network.remove_switch(lab)
        # The plan says where the store is, so the lab's own folder goes last.
        if lab.store.exists():
            shutil.rmtree(lab.store)
        if lab.folder.exists():
            shutil.rmtree(lab.folder)
    return there
