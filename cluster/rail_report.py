"""The full test of the rails: what RDMA writes and NCCL should reach on a wire, and what the figures mean.

Published figures of Sparks: ib_write_bw 111.71 Gb/s over one rail, 189.9 Gb/s over both rails of a cable at
once; NCCL's all-reduce 23.7 GB/s (190 Gb/s) over both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster import link_errors
from cluster.facts import SPARK_PCIE
from cluster.link_report import STANDS_STILL_GBPS, Wire, both_ways, link_rate

#: Of a PCIe link's raw rate, what RDMA writes reach: 111.7 of 126 Gb/s.
PCIE_SHARE = 111.7 / SPARK_PCIE.gbps
#: Of a cable's rate, what its rails reach together: 189.9 of 200 Gb/s.
CABLE_SHARE = 189.9 / 200
#: Under this share of what is expected it is worth a warning: nothing but the link limits RDMA, so its
#: figures vary by a few percent only.
WORTH_A_WARNING = 0.8
PACKAGE = "perftest"


@dataclass(frozen=True)
class Rate:
    """A measured rate in Gb/s, or why there is none."""

    gbps: float | None
    said: str = ""


@dataclass(frozen=True)
class Rails:
    """What was measured with RDMA. `each`: by (sender's, receiver's address); `together`: by (sender's,
    receiver's rank), the rates of all rails of that pair at once. `grown`: by (rank, RDMA device),
    how much its counters grew meanwhile (see link_errors.py). `missing`: nodes without ib_write_bw.
    """

    each: Mapping[tuple[str, str], Rate] = field(default_factory=dict)
    together: Mapping[tuple[int, int], Sequence[Rate]] = field(default_factory=dict)
    grown: Mapping[tuple[int, str], Mapping[str, int]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    skipped: str = ""
    """Why nothing was measured, a sentence; "" when something was, or the tool is missing."""


@dataclass(frozen=True)
class Nccl:
    """What an all-reduce between all ranks reached: bus bandwidth in Gb/s, or why it was not run."""

    gbps: float | None
    skipped: str = ""
    """Why it was not tried, a sentence and what to do."""
    said: str = ""
    """What went wrong when it was tried."""
    version: str = ""
    busy: bool = False
    """Whether ranks ran meanwhile, which use the rails too."""


def expected(wire: Wire) -> float:
    """Gb/s that RDMA writes should reach on one rail by itself."""
    return min(CABLE_SHARE * link_rate(wire), *(PCIE_SHARE * _pcie(end) for end in wire["ends"]))


def expected_together(wires: Sequence[Wire]) -> float:
    """Gb/s over rails at once. Rails of one QSFP port share its cable; two ports are two cables."""
    cables: dict[object, list[Wire]] = {}
    for wire in wires:
        cables.setdefault(wire["ends"][0].get("port"), []).append(wire)
    return sum(
        min(CABLE_SHARE * max(link_rate(wire) for wire in mine), sum(expected(wire) for wire in mine))
        for mine in cables.values()
    )


def rdma(wire: Wire, rails: Rails) -> str:
    """What follows a wire's line: "RDMA 111.7 and 111.6 Gb/s (expected 112): well"."""
    if rails.skipped or rails.missing:
        return "RDMA not tested"
    rates = [rails.each[_addresses(wire, this)] for this in (0, 1)]
    shown = " and ".join("no rate" if rate.gbps is None else f"{rate.gbps:.1f}" for rate in rates)
    wanted = expected(wire)
    fine = all(rate.gbps is not None and not _slow(rate.gbps, wanted) for rate in rates)
    return f"RDMA {shown} Gb/s (expected {wanted:.0f}): {'good' if fine else 'too slow'}"


def together_lines(wires: Sequence[Wire], rails: Rails) -> list[str]:
    """A line for each pair and direction of which several rails were tested at once."""
    found = []
    for ranks, rates in rails.together.items():
        mine = _between(wires, ranks)
        total, wanted = _total(rates), expected_together(mine)
        verdict = "too slow" if _slow(total, wanted) else "good"
        found.append(
            f"{_pair(mine, ranks)}: RDMA over {len(mine)} rails at once {total:.1f} Gb/s "
            f"(expected {wanted:.0f}): {verdict}"
        )
    return found


def nccl_line(wires: Sequence[Wire], ranks: int, nccl: Nccl) -> str:
    """The line of an all-reduce that was run to its end."""
    assert nccl.gbps is not None
    wanted = nccl_expected(wires)
    verdict = "too slow" if _slow(nccl.gbps, wanted) else "good"
    version = f" {nccl.version}" if nccl.version else ""
    return (
        f"NCCL{version} all-reduce between {ranks} ranks: {nccl.gbps / 8:.1f} GB/s, {nccl.gbps:.1f} Gb/s "
        f"(expected {wanted:.0f}): {verdict}"
    )


def nccl_expected(wires: Sequence[Wire]) -> float:
    """Gb/s of bus bandwidth: what the slowest pair of neighbours can exchange."""
    pairs = {(int(wire["ranks"][0]), int(wire["ranks"][1])) for wire in wires}
    return min(expected_together(_between(wires, pair)) for pair in pairs)


def notes(rails: Rails, nccl: Nccl) -> list[str]:
    """What was not tested, why, and what to do: a sentence or two each."""
    found = []
    if rails.missing:
        nodes = " and ".join(rails.missing)
        found.append(
            f"RDMA writes were not tested: there is no ib_write_bw on {nodes}. Install it there with "
            f"`sudo apt install {PACKAGE}`, and try again."
        )
    elif rails.skipped:
        found.append(f"RDMA writes were not tested: {rails.skipped}")
    if nccl.busy and rails.each:
        found.append(
            "The server ran during the test of the rails: its traffic and the test slow each other. Stop "
            "it for figures that count (`pulumi config set running false`, `pulumi up`)."
        )
    if nccl.skipped:
        found.append(f"NCCL was not tested: {nccl.skipped}")
    return found


def warnings(
    wires: Sequence[Wire], tcp: Mapping[tuple[str, str], float], rails: Rails, nccl: Nccl
) -> list[str]:
    """What is wrong, a sentence each with what to do. `tcp`: Gb/s by (sender's, receiver's address)."""
    found = [text for wire in wires for text in _rail_warnings(wire, tcp, rails)]
    lost = [text for wire in wires for text in _lost(wire, rails)]
    slow_rails = bool(found or lost)
    found += lost
    for ranks, rates in rails.together.items():
        mine = _between(wires, ranks)
        total, wanted = _total(rates), expected_together(mine)
        if not slow_rails and _slow(total, wanted):
            found.append(
                f"{_pair(mine, ranks)}: RDMA over {len(mine)} rails at once reaches {total:.1f} Gb/s of "
                f"{wanted:.0f}, though each rail is fast by itself. Check that cable and switch port "
                "are made for 200 Gb/s (`ethtool INTERFACE`), and the switch's flow control (PFC or ECN)."
            )
    if nccl.said:
        found.append(
            f"NCCL's all-reduce failed: {nccl.said}. `trtspark doctor` explains what the rails lack; the "
            "troubleshooting table (docs/troubleshooting.md) has NCCL's own errors."
        )
    elif nccl.gbps is not None and _slow(nccl.gbps, nccl_expected(wires)):
        cause = (
            "The rails named above are the likely cause."
            if slow_rails
            else "The rails are not: look for NCCL variables in `nccl` that limit it, such as NCCL_IB_HCA, "
            "NCCL_IB_DISABLE or NCCL_MAX_NCHANNELS, and for other load on the machines."
        )
        found.append(f"NCCL's all-reduce reaches {nccl.gbps:.1f} Gb/s of {nccl_expected(wires):.0f}. {cause}")
    return found


def _rail_warnings(wire: Wire, tcp: Mapping[tuple[str, str], float], rails: Rails) -> list[str]:
    found = []
    wanted = expected(wire)
    for this, (sender, receiver) in enumerate(both_ways(wire)):
        way = _addresses(wire, this)
        rate = rails.each.get(way)
        if rate is None:
            continue
        text = (
            f"{sender['node']} {sender['netdev']} ({sender['hca']}) to {receiver['node']} "
            f"{receiver['netdev']} ({receiver['hca']}): "
        )
        if rate.gbps is None:
            found.append(
                f"{text}RDMA does not work ({rate.said}). Check on both that the port is up and has its RoCE "
                "v2 GID (`ibdev2netdev`, `show_gids`), then run `trtspark doctor --full` again."
            )
        elif _slow(rate.gbps, wanted):
            found.append(
                f"{text}RDMA writes reach {rate.gbps:.1f} Gb/s, and {wanted:.0f} are expected (link "
                f"{link_rate(wire)}, PCIe {min(_pcie(end) for end in wire['ends']):.0f}). "
                + _advice(tcp.get(way, 0.0), rate.gbps, receiver)
            )
    return found


def _slow(gbps: float, wanted: float) -> bool:
    """A rail that stands still is slow even where nothing is expected, as its link's rate is not known."""
    return gbps < max(STANDS_STILL_GBPS, WORTH_A_WARNING * wanted)


def _lost(wire: Wire, rails: Rails) -> list[str]:
    """What each end's adapter counted as lost while RDMA writes were measured."""
    found = []
    for rank, (own, other) in zip(wire["ranks"], both_ways(wire), strict=True):
        grown = rails.grown.get((int(rank), str(own["hca"])), {})
        if text := link_errors.said(grown):
            found.append(
                f"{own['node']} {own['netdev']} ({own['hca']}), linked to {other['node']} {other['netdev']} "
                f"({other['hca']}): {text} during the test. {link_errors.todo(str(own['netdev']), grown)}"
            )
    return found


def _advice(tcp_gbps: float, rdma_gbps: float, receiver: Mapping[str, object]) -> str:
    if tcp_gbps > rdma_gbps:
        return (
            f"TCP is faster ({tcp_gbps:.1f}), so the cable is good: check the switch's flow control (PFC or "
            "ECN), MTU 9000 on both ends, and `cat /proc/cmdline`: kho=off slows kernels before 7.0."
        )
    return (
        "Push the cable in until it clicks or try another, set MTU 9000 on both ends, and look for errors "
        f"with `ethtool -S {receiver['netdev']}`; other traffic on the link counts too."
    )


def _pcie(end: Mapping[str, object]) -> float:
    """The raw rate of an end's PCIe link; a Spark's own where the probe could not read it."""
    return float(str(end.get("pcie") or SPARK_PCIE.gbps))


def _addresses(wire: Wire, this: int) -> tuple[str, str]:
    ends = wire["ends"]
    return str(ends[this]["address"]), str(ends[1 - this]["address"])


def _between(wires: Sequence[Wire], ranks: Sequence[int]) -> list[Wire]:
    return [wire for wire in wires if {int(rank) for rank in wire["ranks"]} == set(ranks)]


def _pair(wires: Sequence[Wire], ranks: Sequence[int]) -> str:
    names = {
        int(rank): str(end["node"]) for rank, end in zip(wires[0]["ranks"], wires[0]["ends"], strict=True)
    }
    return f"{names[ranks[0]]} to {names[ranks[1]]}"


def _total(rates: Sequence[Rate]) -> float:
    return sum(rate.gbps or 0.0 for rate in rates)
