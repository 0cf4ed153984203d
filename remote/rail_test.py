"""Running ib_write_bw over every rail, each by itself both ways, then all rails of a pair at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster import link_errors
from cluster.errors import NodeError
from cluster.link_report import rounds
from cluster.parsing import perftest
from cluster.rail_report import Rails, Rate
from remote.fabric_test import Runner

#: perftest's duration, in whole seconds. It is a kernel's and an adapter's work: short is enough.
SECONDS = 2
#: How long a receiver waits for its client, beyond the test's time; an interrupted run leaves it for so long.
RECEIVER_MARGIN_S = 18
Say = Callable[[str], None]
MISSING = "missing"


def measure(wires: Sequence[Mapping[str, Any]], run: Runner, say: Say) -> Rails:
    """RDMA rates by wire and direction. Nodes without the tool are named, and then nothing is tried."""
    ranks = sorted({int(rank) for wire in wires for rank in wire["ranks"]})
    there = _there(run, ranks)
    if lacking := [run.hosts[rank] for rank, found in zip(ranks, there, strict=True) if found.get(MISSING)]:
        return Rails(missing=lacking)
    each: dict[tuple[str, str], Rate] = {}
    together: dict[tuple[int, int], Sequence[Rate]] = {}
    for pairs in rounds(wires):
        with ThreadPoolExecutor(len(pairs)) as pool:
            for singles, joint in pool.map(lambda mine: _pair(run, mine, say), pairs):
                each |= singles
                together |= joint
    after = _there(run, ranks)
    grown = {
        (rank, hca): link_errors.growth(now, there[place]["counters"].get(hca, {}))
        for place, rank in enumerate(ranks)
        for hca, now in after[place].get("counters", {}).items()
    }
    return Rails(each, together, grown)


def _there(run: Runner, ranks: Sequence[int]) -> list[Any]:
    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(lambda rank: run.one(rank, {"action": "there"}), ranks))


def _pair(
    run: Runner, wires: Sequence[Mapping[str, Any]], say: Say
) -> tuple[dict[tuple[str, str], Rate], dict[tuple[int, int], Sequence[Rate]]]:
    """All wires between two nodes: in sequence, then at once."""
    each: dict[tuple[str, str], Rate] = {}
    together: dict[tuple[int, int], Sequence[Rate]] = {}
    for wire in wires:
        for this in (0, 1):
            sender, receiver = wire["ends"][this], wire["ends"][1 - this]
            say(f"RDMA writes: {sender['node']} {sender['netdev']} to {receiver['node']}")
            each[str(sender["address"]), str(receiver["address"])] = _one(run, wire, this)
    if len(wires) > 1 and all(rate.gbps is not None for rate in each.values()):
        first = [int(rank) for rank in wires[0]["ranks"]]
        for this in (0, 1):
            say(f"RDMA writes: {wires[0]['ends'][this]['node']} sends over {len(wires)} rails at once")
            ways = [(wire, [int(rank) for rank in wire["ranks"]].index(first[this])) for wire in wires]
            with ThreadPoolExecutor(len(ways)) as pool:
                rates = list(pool.map(lambda way: _one(run, *way), ways))
            together[first[this], first[1 - this]] = rates
    return each, together


def _one(run: Runner, wire: Mapping[str, Any], this: int) -> Rate:
    sender, receiver = wire["ends"][this], wire["ends"][1 - this]
    common = {"seconds": SECONDS}
    try:
        ear = run.one(
            int(wire["ranks"][1 - this]),
            {
                **common,
                "action": "serve",
                "hca": receiver["hca"],
                "address": receiver["address"],
                "deadline_s": SECONDS + RECEIVER_MARGIN_S,
            },
        )
        if "port" not in ear:
            return Rate(None, f"on {receiver['node']}: {perftest.reason(ear)}")
        found = run.one(
            int(wire["ranks"][this]),
            {
                **common,
                "action": "write",
                "hca": sender["hca"],
                "address": sender["address"],
                "to": receiver["address"],
                "port": int(ear["port"]),
            },
        )
    except NodeError as error:
        return Rate(None, str(error).rstrip("."))
    gbps = perftest.average(found)
    return Rate(gbps) if gbps is not None else Rate(None, f"on {sender['node']}: {perftest.reason(found)}")
