"""Whether a firewall lets in what the ranks and the Swarm need, as far as a plain user can tell.

ufw keeps its rules in /etc/ufw/user.rules, one line each in its own words, before the same for iptables:

    ### tuple ### ACTION PROTOCOL PORTS TO FROM-PORTS FROM [APP APP] DIRECTION[_INTERFACE] [comment=HEX]

The first rule that fits counts, else the policy of /etc/default/ufw. Of other firewalls only their being on
is known: reading their rules takes root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from cluster.facts import Firewall

_UNITS = {"nftables.service": "nftables", "netfilter-persistent.service": "iptables"}
_SWARM = ((2377, "tcp"), (7946, "tcp"), (7946, "udp"), (4789, "udp"))
EVERYWHERE = IPv4Network("0.0.0.0/0")
#: The question whether ssh is let in: it is, as the answer came by it; but perhaps only so often.
SSH = "ssh"


@dataclass(frozen=True)
class Question:
    """Is this let in? `port` None is every port. `name` is how `Firewall.closed` calls it."""

    name: str
    port: int | None
    protocol: str
    interface: str
    to: IPv4Address
    source: IPv4Network


@dataclass(frozen=True)
class Rule:
    """One of ufw's rules for what comes in."""

    opens: bool
    protocol: str
    ports: str
    to: IPv4Network
    source: IPv4Network
    interface: str
    limits: bool = False
    """Whether it opens for a few connections only."""

    def fits(self, question: Question) -> bool:
        """Whether it decides. A rule that opens for some of the source's addresses is taken to be meant for
        the other nodes; one that closes has to close for all of them.
        """
        return (
            self.protocol in ("any", question.protocol)
            and self.interface in ("", question.interface)
            and question.to in self.to
            and (
                self.source.overlaps(question.source)
                if self.opens
                else question.source.subnet_of(self.source)
            )
            and _covers(self.ports, question.port)
        )


def questions(
    interfaces: Mapping[str, Sequence[IPv4Interface]],
    management: str,
    fabric: Sequence[str],
    operator: str,
    port: int | None,
    ssh_port: int = 0,
) -> list[Question]:
    """What must be let in: the Swarm's ports from the management network, ssh (on `ssh_port`, 0 where that
    is not known) and the API's from the operator, and every TCP port on the interfaces that ranks may talk
    over.
    """
    own = {name: addresses[0] for name, addresses in interfaces.items() if addresses}
    if management not in own:
        return []
    here = own[management]
    found = [Question(f"{n}/{kind}", n, kind, management, here.ip, here.network) for n, kind in _SWARM]
    try:
        client = IPv4Network(operator)
    except ValueError:
        client = here.network
    if ssh_port:
        # The operator's, and the head's, whose mpirun logs in over the network that the ranks have.
        found.append(Question(SSH, ssh_port, "tcp", management, here.ip, client))
        found += [
            Question(SSH, ssh_port, "tcp", name, own[name].ip, own[name].network)
            for name in (management, *fabric)
            if name in own
        ]
    if port is not None:
        found.append(Question(f"{port}/tcp", port, "tcp", management, here.ip, client))
    for name in (*fabric, management):
        if name in own:
            found.append(Question(f"tcp on {name}", None, "tcp", name, own[name].ip, own[name].network))
    return found


def verdict(document: Mapping[str, Any], asked: Sequence[Question]) -> Firewall:
    """Which of these questions have the answer no."""
    files = document["files"]
    if not re.search(r"(?mi)^ENABLED=[\"']?yes", files["/etc/ufw/ufw.conf"] or ""):
        others = [_UNITS.get(unit, unit.partition(".")[0]) for unit in document["firewalls"]]
        return Firewall(tool=others[0]) if others else Firewall(known=True)
    text = files["/etc/ufw/user.rules"] or ""
    if not text or text.startswith("unreadable: "):
        text = document["commands"].get("ufw-rules", {}).get("out", "")
    policy = re.search(r"(?m)^DEFAULT_INPUT_POLICY=\"?(\w+)", files["/etc/default/ufw"] or "")
    if not text or not policy:
        return Firewall(tool="ufw")
    rules = [rule for line in text.splitlines() if (rule := _rule(line))]
    closed = []
    limited = False
    for one in asked:
        rule = next((rule for rule in rules if rule.fits(one)), None)
        if one.name == SSH:
            limited |= rule is not None and rule.limits
        elif not (rule.opens if rule else policy[1].upper() == "ACCEPT"):
            closed.append(one.name)
    return Firewall(tool="ufw", known=True, closed=tuple(closed), limited=limited)


def _rule(line: str) -> Rule | None:
    words = line.removeprefix("### tuple ### ").split()
    if not line.startswith("### tuple ### ") or len(words) < 7 or words[0].startswith("route:"):
        return None
    if words[-1].startswith("comment="):
        words.pop()
    action, protocol, ports, to, from_ports, source = words[:6]
    direction, _, interface = words[-1].partition("_")
    if direction != "in" or from_ports != "any":
        return None
    try:
        where = IPv4Network(to, strict=False), IPv4Network(source, strict=False)
    except ValueError:
        return None  # IPv6
    kind = action.partition("_")[0]
    return Rule(kind in ("allow", "limit"), protocol, ports, *where, interface, kind == "limit")


def _covers(ports: str, port: int | None) -> bool:
    """ufw writes "any", "80", "80,443" and "8000:8010"."""
    if ports == "any":
        return True
    if port is None:
        return False
    for part in ports.split(","):
        first, _, last = part.partition(":")
        if first.isdecimal() and int(first) <= port <= int(last or first):
            return True
    return False
