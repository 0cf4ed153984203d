"""The lab's wires: one switch namespace with a bridge per cable, and each node's ports on them.

The bridges live in a namespace of their own, so that the host's firewall and its interfaces have
nothing to do with them; the host gets one interface, the operator's.
"""

import json
from ipaddress import IPv4Network
from pathlib import Path

from lab import cabling, names
from lab.errors import LabError
from lab.shell import ip, run
from lab.state import Lab, Node

NAMESPACES = Path("/run/netns")
MTU = 9216
"""On the switch: nodes start with 1500 and may go to 9000, as with the real cable."""

SETTINGS = {
    # As DGX OS sets them: an interface answers for its own addresses only, so that the two halves
    # of one cable do not take each other's traffic.
    "net/ipv4/conf/all/arp_ignore": 1,
    "net/ipv4/conf/all/arp_announce": 2,
}


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


def build_switch(lab: Lab, lan: IPv4Network, shape: str) -> None:
    """Make the switch with its bridges, the router's address and the operator's interface."""
    run("ip", "netns", "add", lab.switch)
    bridges = cabling.bridges(shape)
    ip(
        [
            "link set lo up",
            *(f"link add {name} mtu {MTU} type bridge mcast_snooping 0" for name in bridges),
            *(f"link set {name} up" for name in bridges),
            f"addr add {names.router_address(lan)}/{lan.prefixlen} dev {cabling.LAN}",
            # Without a way out nothing may hang: every foreign address is refused at once.
            "route add unreachable default",
            f"link add operator mtu {MTU} type veth peer name {lab.id} netns 1",
            f"link set operator master {cabling.LAN} up",
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


def plug_in(lab: Lab, node: Node) -> None:
    """Give a node its network namespace with all its interfaces; their addresses are its own business."""
    unplug(lab, node)
    run("ip", "netns", "add", node.namespace)
    ip(
        [
            "link set lo up",
            *(
                f"link add {wire.netdev} address {names.mac(lab.id, node.name, wire.netdev)}"
                f" type veth peer name {wire.port} mtu {MTU} netns {lab.switch}"
                for wire in node.wires
            ),
            *(f"link set {wire.netdev} up" for wire in node.links.values()),
        ],
        node.namespace,
    )
    settings = "; ".join(f"echo {value} > /proc/sys/{name}" for name, value in SETTINGS.items())
    run("nsenter", f"--net={NAMESPACES / node.namespace}", "sh", "-c", settings)
    ip([f"link set {wire.port} master {wire.bridge} up" for wire in node.links.values()], lab.switch)


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
        LabError: the node has no power, or no such cable.
    """
    if not (NAMESPACES / node.namespace).exists():
        raise node.without_power()
    if link not in node.links:
        raise LabError(f"{node.name} has no cable {link}, only {', '.join(node.links)}.")
    ip([f"link set {node.links[link].port} {'up' if up else 'down'}"], lab.switch)


def link_states(lab: Lab, node: Node) -> dict[str, str]:
    """Return {"mgmt": "up", …} as the switch sees them; empty without power."""
    if not (NAMESPACES / node.namespace).exists():
        return {}
    shown = json.loads(run("ip", "-n", lab.switch, "-j", "link", "show"))
    flags = {link["ifname"]: link["flags"] for link in shown}
    return {
        link: "up" if "LOWER_UP" in flags.get(wire.port, []) else "down" for link, wire in node.links.items()
    }
