"""The quick test of the cables: what is tested with what, and what the figures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import fabric
from cluster.fabric import Fabric
from cluster.fabric.shape import place
from cluster.facts import Facts

#: What one half can do: PCIe Gen5 x4; measured on Sparks 109 to 112 Gb/s (field reports).
HALF_LIMIT_GBPS = 100
#: Under this share of what can be expected it is worth a warning.
WORTH_A_WARNING = 0.5

Wire = Mapping[str, Any]
"""{"ranks": [first, second], "subnet", "ends": [{"node", "address", "netdev", "mtu", "rate", "hca", "port",
"pcie"}, likewise]}; `rate` and `pcie` in Gb/s (0: not known), `port`: QSFP port, `hca`: RDMA device."""


@dataclass(frozen=True)
class Figures:
    """What was found on one wire. [0]: from the first end to the second, [1]: back."""

    pings: Sequence[Mapping[str, Any]]
    rates: Sequence[Mapping[str, Any]]
    loopback_gbps: float
    """The less of what the two machines reach with themselves: the test's own limit."""


def wires(network: Fabric, nodes: Sequence[Facts]) -> list[dict[str, Any]]:
    """What is to be tested, as plain data: every half between neighbours."""
    return [
        {
            "ranks": list(wire.ranks),
            "subnet": str(wire.subnet),
            "ends": [
                {
                    "node": nodes[rank].hostname,
                    "address": str(hca.address.ip) if hca.address else "",
                    "netdev": hca.netdev,
                    "mtu": hca.mtu,
                    "rate": hca.rate_gbps,
                    "hca": hca.name,
                    "port": place(hca)[0],
                    "pcie": round(hca.pcie.gbps) if hca.pcie else 0,
                }
                for rank, hca in zip(wire.ranks, wire.ends, strict=True)
            ],
        }
        for wire in fabric.wires(network)
    ]


def rounds(wires: Sequence[Wire]) -> list[list[list[Wire]]]:
    """Rounds of pairs that share no node; a pair is the list of its wires, which are tested in sequence."""
    pairs: dict[tuple[int, ...], list[Wire]] = {}
    for wire in wires:
        pairs.setdefault(tuple(int(rank) for rank in wire["ranks"]), []).append(wire)
    found: list[dict[tuple[int, ...], list[Wire]]] = []
    for ranks, mine in pairs.items():
        free = next((r for r in found if not any(set(ranks) & set(other) for other in r)), None)
        if free is None:
            free = {}
            found.append(free)
        free[ranks] = mine
    return [list(one.values()) for one in found]


def line(wire: Wire, figures: Figures) -> str:
    """A wire's line in the stack's output `fabric`."""
    first, second = wire["ends"]
    mtu = [int(end["mtu"]) for end in wire["ends"]]
    size = str(mtu[0]) if mtu[0] == mtu[1] else f"{mtu[0]} and {mtu[1]}"
    passes = "passes both ways" if not _ping_problems(wire, figures) else "does not pass"
    if any(ping["received"] is None for ping in figures.pings):
        passes = "not tested (no ping)"
    there, back = (f"{rate['gbps']:.1f}" for rate in figures.rates)
    return (
        f"{first['node']} {first['netdev']} - {second['node']} {second['netdev']} ({wire['subnet']}): "
        f"MTU {size} {passes}, TCP {there} and {back} Gb/s (link {link_rate(wire)}, the test's own limit "
        f"{figures.loopback_gbps:.1f})"
    )


def warnings(wire: Wire, figures: Figures) -> list[str]:
    """What is wrong with a wire, a sentence each with what to do; [] when it is as it should be."""
    found = _ping_problems(wire, figures)
    expected = min(link_rate(wire), HALF_LIMIT_GBPS, figures.loopback_gbps)
    for (sender, receiver), rate in zip(both_ways(wire), figures.rates, strict=True):
        way = f"{sender['node']} {sender['netdev']} to {receiver['node']} {receiver['netdev']}"
        if rate.get("said"):
            found.append(
                f"{way}: no TCP connection ({rate['said']}). Let all TCP between the fabric's addresses pass "
                "(`sudo ufw status` on both)."
            )
        elif rate["gbps"] < WORTH_A_WARNING * expected:
            found.append(
                f"{way}: {rate['gbps']:.1f} Gb/s over TCP, under half of the {expected:.0f} that the link "
                f"({link_rate(wire)}), PCIe ({HALF_LIMIT_GBPS}) and these machines' own loopback "
                f"({figures.loopback_gbps:.0f}) allow. "
                "Look at cable, MTU (9000 on both) and `ethtool -S` for errors; other traffic counts too."
            )
    return found


def _ping_problems(wire: Wire, figures: Figures) -> list[str]:
    found = []
    for (sender, receiver), ping in zip(both_ways(wire), figures.pings, strict=True):
        if ping["received"] is None or ping["received"] > 0:
            continue
        said = f" ({ping['said']})" if ping["said"] else ""
        found.append(
            f"{sender['node']} {sender['netdev']} to {receiver['node']} {receiver['netdev']}: packets of "
            f"its MTU {int(sender['mtu'])} do not arrive{said}. Set one MTU on both ends and on a switch in "
            f"between, and check the cable (`ping -M do -s {int(sender['mtu']) - 28} {receiver['address']}`)."
        )
    return found


def both_ways(wire: Wire) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(sender, receiver) from the first end to the second, and back."""
    first, second = wire["ends"]
    return [(first, second), (second, first)]


def link_rate(wire: Wire) -> int:
    """The rate of the slower end, in Gb/s."""
    return min(int(end["rate"]) for end in wire["ends"])
