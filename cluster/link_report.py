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
#: Of the test's datagrams, which never fill the link: a good cable loses none of the 1000. RoCE sends again
#: all that followed a lost packet, so with 0.4 % lost it moved nothing in Microsoft's tests (Guo and others,
#: "RDMA over Commodity Ethernet at Scale", SIGCOMM 2016).
LOST_WORTH_A_WARNING = 0.003
#: Of TCP's segments. TCP loses some wherever it fills a queue: up to 0.2 % on a simulated link without loss.
SENT_AGAIN_WORTH_A_WARNING = 0.01
#: TCP itself sends a few segments again at the start and the end of a connection.
SENT_AGAIN_AT_LEAST = 10
#: What is shown as 0.0 Gb/s: the rail moves nothing, whatever the machines could do.
STANDS_STILL_GBPS = 0.05

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
    lost = [_lost(rate) for rate in figures.rates]
    loss = " and ".join("unknown" if share is None else f"{100 * share:.1f}" for share in lost)
    return (
        f"{first['node']} {first['netdev']} - {second['node']} {second['netdev']} ({wire['subnet']}): "
        f"MTU {size} {passes}, TCP {there} and {back} Gb/s (link {link_rate(wire)}, the test's own limit "
        f"{figures.loopback_gbps:.1f}), loss {loss} %"
    )


def warnings(wire: Wire, figures: Figures) -> list[str]:
    """What is wrong with a wire, a sentence each with what to do; [] when it is as it should be."""
    found = _ping_problems(wire, figures)
    expected = min(link_rate(wire), HALF_LIMIT_GBPS, figures.loopback_gbps)
    for (sender, receiver), rate in zip(both_ways(wire), figures.rates, strict=True):
        way = f"{sender['node']} {sender['netdev']} to {receiver['node']} {receiver['netdev']}"
        if loss := _loss(rate):
            found.append(
                f"{way}: {loss}. Push the cable in until it clicks at both ends, or try another. Then see "
                f"which counter of drops or errors grows (`ethtool -S {receiver['netdev']}` on "
                f"{receiver['node']}); behind a switch also check its flow control (PFC or ECN)."
            )
        if rate.get("said"):
            found.append(
                f"{way}: no TCP connection ({rate['said']}). Let all TCP between the fabric's addresses pass "
                "(`sudo ufw status` on both)."
            )
        elif rate["gbps"] < STANDS_STILL_GBPS:
            found.append(
                f"{way}: the rail moves nothing, {rate['gbps']:.1f} Gb/s over TCP. Check the cable and MTU "
                f"{int(sender['mtu'])} on both ends and on a switch in between (`ip -s link show "
                f"{sender['netdev']}`), and what the firewall drops (`sudo ufw status` on both)."
            )
        elif not loss and rate["gbps"] < WORTH_A_WARNING * expected:
            found.append(
                f"{way}: {rate['gbps']:.1f} Gb/s over TCP, under half of the {expected:.0f} that the link "
                f"({link_rate(wire)}), PCIe ({HALF_LIMIT_GBPS}) and these machines' own loopback "
                f"({figures.loopback_gbps:.0f}) allow. "
                "Look at cable, MTU (9000 on both) and `ethtool -S` for errors; other traffic counts too."
            )
    return found


def _lost(rate: Mapping[str, Any]) -> float | None:
    """The share of datagrams that did not arrive; None where none was answered: a firewall may drop UDP."""
    loss = rate.get("loss") or {}
    if not loss.get("sent") or loss.get("arrived") is None:
        return None
    return 1 - float(loss["arrived"]) / float(loss["sent"])


def _loss(rate: Mapping[str, Any]) -> str:
    """How much a rail loses in one direction; "" when that is nothing to speak of."""
    lost, again, segments = _lost(rate), int(rate.get("again") or 0), int(rate.get("segments") or 0)
    heavy = again >= SENT_AGAIN_AT_LEAST and again > SENT_AGAIN_WORTH_A_WARNING * segments
    if not heavy and (lost is None or lost < LOST_WORTH_A_WARNING):
        return ""
    parts = [] if lost is None else [f"{100 * lost:.1f} % of {rate['loss']['sent']} packets were lost"]
    if segments:
        parts.append(f"TCP sent {100 * again / segments:.1f} % of its segments again")
        parts.append(f"it reached {rate['gbps']:.1f} Gb/s")
    return ", ".join(parts)


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
