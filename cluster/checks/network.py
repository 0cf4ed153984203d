"""Checks of what lies between the machines: ports, firewalls, clocks, and the cable's two halves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from cluster.checks.table import Context, Finding, Level, check
from cluster.facts import Facts, Hca

#: A cabled half of a Spark links at this many Gb/s.
FULL_RATE_GBPS = 200
JUMBO_MTU = 9000
#: Clocks this far apart make logs unreadable; Swarm's certificates are dated back by an hour.
CLOCK_WARN_S, CLOCK_FAIL_S = 60.0, 3600.0


def needed_ports(context: Context, facts: Facts) -> dict[str, tuple[Level, str]]:
    """What other nodes must reach on this one: port -> (how bad it is when they cannot, what it is for)."""
    ports: dict[str, tuple[Level, str]] = {
        "7946/tcp": ("FAIL", "Swarm's nodes find each other by it"),
        "7946/udp": ("FAIL", "Swarm's nodes find each other by it"),
        "4789/udp": ("WARN", "overlay networks go through it; the ranks use none"),
    }
    if _is_head(context, facts):
        ports["2377/tcp"] = ("FAIL", "the other nodes join the Swarm by it")
    return ports


def _is_head(context: Context, facts: Facts) -> bool:
    return facts.node == context.settings.active_nodes[0].host


@check(
    "network.ports",
    "Swarm's ports (2377, 7946, 4789) are free until Docker itself has them.",
    "Stop the other program.",
    "FAIL",
    "WARN",
    alone=True,
)
def ports(context: Context) -> Iterator[Finding]:
    """In use by others: a node that is in no Swarm has no Docker on these ports."""
    for facts in context.nodes:
        if facts.docker.problem or facts.docker.swarm_state != "inactive":
            continue
        bound = {f"{port}/tcp" for _, port in facts.listening} | {f"{port}/udp" for _, port in facts.udp}
        for port, (level, why) in needed_ports(context, facts).items():
            if port in bound:
                number, _, kind = port.partition("/")
                flag = "-ltnp" if kind == "tcp" else "-lunp"
                yield Finding(
                    level,
                    facts.node,
                    f"port {port} is in use by another program.",
                    f"Stop it (`sudo ss {flag} 'sport = :{number}'` names it): {why}.",
                )


@check(
    "network.firewall",
    "The node's firewall lets in what the Swarm, the ranks and the API need.",
    "Open the ports between the nodes: docs/preparing.md lists them.",
    "FAIL",
    "WARN",
    alone=True,
)
def firewall(context: Context) -> Iterator[Finding]:
    """Closed, or on and not to be read."""
    several = len(context.settings.active_nodes) > 1
    for facts in context.nodes:
        if not facts.firewall.known:
            if facts.firewall.tool and (several or _is_head(context, facts)):
                yield Finding(
                    "WARN",
                    facts.node,
                    f"{facts.firewall.tool} is on, and its rules cannot be read.",
                    "See that it lets in the ports of docs/preparing.md from the other nodes.",
                )
            continue
        wanted = needed_ports(context, facts) if several else {}
        if several:
            wanted |= {
                f"tcp on {name}": ("FAIL", "MPI and NCCL choose their ports") for name in _talks(facts)
            }
        if _is_head(context, facts) and context.settings.running:
            wanted[f"{context.settings.port}/tcp"] = ("FAIL", "the API is asked there")
        for port in facts.firewall.closed:
            if port in wanted:
                level, why = wanted[port]
                yield Finding(
                    level,
                    facts.node,
                    f"{facts.firewall.tool} does not let in {port}: {why}.",
                    f"Run there `{_opening(facts, port)}`.",
                )


def _talks(facts: Facts) -> Sequence[str]:
    """The interfaces that its rank talks over: the fabric's, else the management network's."""
    return [hca.netdev for hca in facts.hcas if hca.usable] or [facts.management]


def _opening(facts: Facts, port: str) -> str:
    if port.startswith("tcp on "):
        return f"sudo ufw allow in on {port.removeprefix('tcp on ')} proto tcp from any"
    number, _, kind = port.partition("/")
    return f"sudo ufw allow in on {facts.management} proto {kind} from any to any port {number}"


@check(
    "network.ssh-limit",
    "The node's firewall does not limit how often ssh may connect (`ufw limit`).",
    "`sudo ufw delete limit 22/tcp && sudo ufw allow 22/tcp`, or allow it from the operator and the head.",
    "WARN",
    alone=True,
)
def ssh_limit(context: Context) -> Iterator[Finding]:
    """ufw refuses the sixth connection of one machine within 30 s: docs/decisions/0061-ufw-limit.md."""
    for facts in context.nodes:
        if facts.firewall.limited:
            who = " ".join(dict.fromkeys(filter(None, (facts.operator, *_head_of(context, facts)))))
            yield Finding(
                "WARN",
                facts.node,
                "ufw refuses ssh to a machine that connects six times within 30 seconds, and "
                "`pulumi up` may.",
                f"Run there `for a in {who}; do sudo ufw prepend allow proto tcp from $a to any port "
                f"{facts.ssh_port}; done`.",
            )


def _head_of(context: Context, facts: Facts) -> list[str]:
    """The head's addresses, where its mpirun logs in there by ssh."""
    head = next((one for one in context.nodes if _is_head(context, one)), facts)
    own = [head.address, *(hca.address.ip for hca in head.hcas if hca.usable and hca.address)]
    return [] if head is facts else [str(address) for address in own]


@check(
    "network.clocks",
    "The nodes' clocks agree within a minute, with each other and with the operator's.",
    "`timedatectl` says whether anything keeps the clock right; `sudo timedatectl set-ntp true` lets it.",
    "FAIL",
    "WARN",
)
def clocks(context: Context) -> Iterator[Finding]:
    """Over an hour, and the Swarm's certificates are not valid yet on the one that is behind."""
    known = [(facts.clock_offset, facts) for facts in context.nodes if facts.clock_offset is not None]
    if not known:
        return
    offsets = [offset for offset, _ in known]
    apart = max(offsets) - min(offsets)
    if apart > CLOCK_WARN_S:
        middle = sorted(offsets)[len(offsets) // 2] if len(offsets) > 2 else 0.0
        offset, worst = max(known, key=lambda one: abs(one[0] - middle))
        far = apart > CLOCK_FAIL_S
        yield Finding(
            "FAIL" if far else "WARN",
            worst.node,
            f"its clock is {_off(offset)}, and {_span(apart)} from another node's"
            + (": Swarm's certificates are refused." if far else "."),
            f"Set it right there: {_keeper(worst)}.",
        )
    elif min(abs(offset) for offset in offsets) > CLOCK_WARN_S:
        yield Finding(
            "WARN",
            "",
            f"the nodes' clocks are {_off(offsets[0])}, though they agree with each other.",
            "Is this machine's own clock right?",
        )


def _off(offset: float) -> str:
    return f"{_span(abs(offset))} {'ahead of' if offset > 0 else 'behind'} this machine's"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _keeper(facts: Facts) -> str:
    if facts.ntp is False:
        return "nothing keeps it right now (`sudo timedatectl set-ntp true`)"
    return "`timedatectl` says what keeps it"


@check(
    "fabric.cross-check",
    "ibdev2netdev tells the same interfaces and links as the kernel's own files.",
    "Reload the driver, or reboot.",
    "WARN",
    alone=True,
)
def cross_check(context: Context) -> Iterator[Finding]:
    """The tool is read from what the kernel says, too: where they differ, something changes just now."""
    for facts in context.nodes:
        if facts.ibdev2netdev is None:
            continue
        for hca in facts.hcas:
            own = f"{hca.netdev} ({'Up' if hca.active else 'Down'})"
            tool = facts.ibdev2netdev.get(hca.name, "nothing")
            if own.lower() != tool.lower():
                yield Finding(
                    "WARN",
                    facts.node,
                    f"of {hca.name} the kernel says {own}, and ibdev2netdev {tool}.",
                    "Look again in a moment; a link that comes and goes is a cable not quite in.",
                )


@check(
    "fabric.rate",
    "The cable's halves link at 200 Gb/s.",
    "Use a cable for 200 Gb/s, and push it in until it clicks.",
    "WARN",
    alone=True,
)
def rate(context: Context) -> Iterator[Finding]:
    """A cable for less, or a switch's port that is set to less."""
    for facts in context.nodes:
        slow = [hca for hca in facts.hcas if hca.usable and hca.rate_gbps < FULL_RATE_GBPS]
        if slow and len(context.settings.active_nodes) > 1:
            listed = ", ".join(f"{hca.name} at {hca.rate_gbps} Gb/s" for hca in slow)
            yield Finding(
                "WARN",
                facts.node,
                f"the link is slower than a Spark's {FULL_RATE_GBPS} Gb/s: {listed}.",
                "Is it a cable for 200 Gb/s, pushed in until it clicks, and the switch's port set to that?",
            )


@check(
    "fabric.mtu",
    "The interfaces on the cable have MTU 9000, and the same on both ends.",
    "Set mtu: 9000 for both halves on every node (netplan), and on the switch.",
    "WARN",
)
def mtu(context: Context) -> Iterator[Finding]:
    """Ends that differ lose large packets; 1500 everywhere is only slower."""
    ends: dict[IPv4Network, list[tuple[Facts, Hca]]] = {}
    for facts in context.nodes:
        for hca in facts.hcas:
            if hca.usable and hca.address:
                ends.setdefault(hca.address.network, []).append((facts, hca))
    shared = {net: found for net, found in ends.items() if len({facts.node for facts, _ in found}) > 1}
    for net, found in shared.items():
        if len({hca.mtu for _, hca in found}) > 1:
            listed = ", ".join(f"{facts.node} {hca.netdev} {hca.mtu}" for facts, hca in found)
            yield Finding(
                "WARN",
                "",
                f"the ends of the fabric's {net} have different MTUs: {listed}.",
                "Packets that only one end can send get lost: set the same on all (9000, in netplan).",
            )
    used = {hca.mtu for found in shared.values() for _, hca in found}
    if len(used) == 1 and max(used) < JUMBO_MTU:
        yield Finding(
            "WARN",
            "",
            f"the fabric's interfaces have MTU {max(used)}.",
            "It works, slower than it could: `mtu: 9000` for both halves on every node (netplan).",
        )
