"""The lab's wires: one switch namespace with three bridges, and each node's ports on them.

The bridges live in a namespace of their own, so that the host's firewall and its interfaces have
nothing to do with them; the host gets one interface, the operator's.
"""

import json
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path

from lab import names
from lab.shell import ip, run
from lab.state import Lab, Node

NAMESPACES = Path("/run/netns")
MTU = 9216
"""On the switch: nodes start with 1500 and may go to 9000, as with the real cable."""

LINKS = {"mgmt": "lan", "half0": "half0", "half1": "half1"}
"""What `link` calls a wire: its bridge."""


def host_routes() -> list[IPv4Network]:
    """Return the networks that this machine has routes to, but for default routes."""
    found = []
    for route in json.loads(run("ip", "-j", "-4", "route", "show", "table", "all")):
        try:
            net = IPv4Network(route["dst"])
        except ValueError:  # "default"
            continue
        if net.prefixlen:
            found.append(net)
    return found


def switched_on(lab: Lab) -> bool:
    """Return whether the switch is complete."""
    return (NAMESPACES / lab.switch).exists() and Path("/sys/class/net", lab.id).exists()


def build_switch(lab: Lab, lan: IPv4Network) -> None:
    """Make the switch with its bridges, the router's address and the operator's interface."""
    run("ip", "netns", "add", lab.switch)
    bridges = LINKS.values()
    ip(
        [
            "link set lo up",
            *(f"link add {name} mtu {MTU} type bridge mcast_snooping 0" for name in bridges),
            *(f"link set {name} up" for name in bridges),
            f"addr add {names.router_address(lan)}/{lan.prefixlen} dev lan",
            # Without a way out nothing may hang: every foreign address is refused at once.
            "route add unreachable default",
            f"link add operator mtu {MTU} type veth peer name {lab.id} netns 1",
            "link set operator master lan up",
        ],
        lab.switch,
    )
    run(
        "nsenter", f"--net={NAMESPACES / lab.switch}",
        "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward",
    )  # fmt: skip
    ip(
        [
            f"link set {lab.id} addrgenmode none",
            f"addr add {names.operator_address(lan)}/{lan.prefixlen} dev {lab.id}",
            f"link set {lab.id} up",
        ]
    )


def remove_switch(lab: Lab) -> None:
    """Take the switch and every wire on it away, whatever of it exists."""
    if Path("/sys/class/net", lab.id).exists():
        ip([f"link del {lab.id}"])
    if (NAMESPACES / lab.switch).exists():
        for port in _ports(lab.switch):
            # By name and at once: a namespace's own end comes later, in the background.
            ip([f"link del {port}"], lab.switch)
        run("ip", "netns", "del", lab.switch)


def _ports(switch: str) -> list[str]:
    links = json.loads(run("ip", "-n", switch, "-j", "link", "show", "type", "veth"))
    return [link["ifname"] for link in links]


def _wires(node: Node) -> Iterable[tuple[str, str, str | None]]:
    """A node's interfaces as (name, its port on the switch, bridge or None for no cable)."""
    yield names.MANAGEMENT, f"{node.name}.mgmt", "lan"
    for port in names.CX7_PORTS:
        plugged = f"half{port.half}" if port.cage == 0 else None
        yield port.netdev, f"{node.name}.{port.half}f{port.cage}", plugged


def switch_port(node: Node, link: str) -> str:
    """Return the switch's end of `mgmt`, `half0` or `half1` of a node."""
    return next(port for _, port, bridge in _wires(node) if bridge == LINKS[link])


def plug_in(lab: Lab, node: Node, lan: IPv4Network) -> None:
    """Give a node its network namespace, with all its interfaces, addresses and routes."""
    unplug(lab, node)
    run("ip", "netns", "add", node.namespace)
    wires = list(_wires(node))
    fabric = [port.netdev for port in names.CX7_PORTS if port.cage == 0]
    ip(
        [
            "link set lo up",
            *(
                f"link add {name} address {names.mac(lab.id, node.name, name)}"
                f" type veth peer name {port} mtu {MTU} netns {lab.switch}"
                for name, port, _ in wires
            ),
            f"addr add {node.host}/{lan.prefixlen} brd + dev {names.MANAGEMENT}",
            *(
                f"addr add {address}/{net.prefixlen} brd + dev {name}"
                for name, address, net in zip(fabric, node.fabric, names.FABRIC_SUBNETS, strict=True)
            ),
            *(f"link set {name} up" for name in (names.MANAGEMENT, *fabric)),
            f"route add default via {names.router_address(lan)} dev {names.MANAGEMENT}",
        ],
        node.namespace,
    )
    ip([f"link set {port} master {bridge} up" for _, port, bridge in wires if bridge], lab.switch)


def unplug(lab: Lab, node: Node) -> None:
    """Pull all cables of a node at once and drop its network namespace."""
    if (NAMESPACES / lab.switch).exists():
        mine = [port for port in _ports(lab.switch) if port.startswith(f"{node.name}.")]
        ip([f"link del {port}" for port in mine], lab.switch)
    if (NAMESPACES / node.namespace).exists():
        run("ip", "netns", "del", node.namespace)


def set_link(lab: Lab, node: Node, link: str, *, up: bool) -> None:
    """Pull or plug one cable at the switch: the node sees its carrier go or come.

    Raises:
        LabError: the node has no power.
    """
    if not (NAMESPACES / node.namespace).exists():
        raise node.without_power()
    ip([f"link set {switch_port(node, link)} {'up' if up else 'down'}"], lab.switch)


def link_states(lab: Lab, node: Node) -> dict[str, str]:
    """Return {"mgmt": "up", …} as the switch sees them; empty without power."""
    if not (NAMESPACES / node.namespace).exists():
        return {}
    shown = json.loads(run("ip", "-n", lab.switch, "-j", "link", "show"))
    flags = {link["ifname"]: link["flags"] for link in shown}
    return {link: "up" if "LOWER_UP" in flags.get(switch_port(node, link), []) else "down" for link in LINKS}
