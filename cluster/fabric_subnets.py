"""Which subnets and hosts are free: RFC 1918 networks of /24 that nothing on any node uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address

from cluster.errors import PlanError
from cluster.facts import Facts

PREFIX = 24
#: Where Docker takes networks from unless told otherwise (moby, libnetwork/ipamutils): its bridges', and
#: Swarm's overlays. 172.16.0.0/16 is what they leave of RFC 1918.
_DOCKER = tuple(IPv4Network(n) for n in ("172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13"))
_SWARM = IPv4Network("10.0.0.0/8")
#: In this order. The second is Docker's too, but the last of its own: it skips what has a route.
_POOLS = (IPv4Network("172.16.0.0/16"), IPv4Network("192.168.0.0/16"))
#: Low numbers are the most used in offices and homes.
_FIRST = 100


def free(nodes: Sequence[Facts], besides: Collection[IPv4Network]) -> Iterator[IPv4Network]:
    """Free subnets, the same ones in the same order for the same machines. Raises PlanError at the end."""
    taken = {*_taken(nodes), *besides, *_DOCKER, _SWARM}
    for pool in _POOLS:
        candidates = list(pool.subnets(new_prefix=PREFIX))
        for candidate in candidates[_FIRST:] + candidates[:_FIRST]:
            if not any(candidate.overlaps(other) for other in taken):
                yield candidate
    raise PlanError(
        "fabric: no private /24 is free of routes on all nodes. Choose addresses yourself: nodes[].fabric."
    )


def _taken(nodes: Sequence[Facts]) -> Iterator[IPv4Network]:
    """Everything with a route or an address, Docker's pools, and the operator's own address."""
    for facts in nodes:
        yield from (net for net in facts.routes if net.prefixlen)
        for addresses in facts.interfaces.values():
            yield from (address.network for address in addresses)
        yield from _pools(facts)
        if facts.operator:
            operator = ip_address(facts.operator)
            if isinstance(operator, IPv4Address):
                yield IPv4Network(operator)


def _pools(facts: Facts) -> Iterator[IPv4Network]:
    settings = facts.daemon_json
    texts = [
        pool.get("base") for pool in settings.get("default-address-pools") or [] if isinstance(pool, dict)
    ]
    for text in (*texts, settings.get("bip"), settings.get("fixed-cidr")):
        try:
            yield IPv4Interface(str(text)).network
        except ValueError:
            continue


def host(subnet: IPv4Network, wanted: int, used: Collection[IPv4Address]) -> IPv4Interface:
    """The host of this number in a subnet, or else its first free one; `used` are taken."""
    best = subnet.network_address + wanted
    inside = best in subnet and best not in (subnet.network_address, subnet.broadcast_address)
    for address in [best] if inside and best not in used else subnet.hosts():
        if address not in used:
            return IPv4Interface((address, subnet.prefixlen))
    raise PlanError(f"fabric: {subnet} has no free address left. Choose another subnet: nodes[].fabric.")


def numbers(nodes: Sequence[Facts]) -> list[int]:
    """Each node's number in every subnet: its management address's last octet where those are unique."""
    octets = [int(facts.address) & 0xFF for facts in nodes]
    if len(set(octets)) == len(octets) and all(0 < octet < 255 for octet in octets):
        return octets
    return list(range(1, len(nodes) + 1))
