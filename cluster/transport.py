"""What the gate asks of the ranks' transport, and the judgement of what they and the adapters said.

All ranks' lines stand in rank 0's log. NCCL begins each with `host:pid:tid`, which tells ranks apart only
where host names differ, so a line is given to a rank by the address in it wherever there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import engine_log, nccl_log, transport_causes
from cluster.engine_log import RankTransport
from cluster.fabric import Fabric, expected_transport
from cluster.facts import Facts
from cluster.nccl_log import NcclLine

#: Less than this during a completion is a keepalive's doing, not a layer's (bytes, both directions).
MOVED_BYTES = 1024

Counters = Mapping[str, Sequence[int]]
"""HCA -> [bytes sent, bytes received] since some moment in the past."""


@dataclass(frozen=True)
class Expected:
    """One rank as it was planned."""

    rank: int
    node: str
    hostname: str
    addresses: tuple[str, ...]
    """Every address by which NCCL may name it: of its bootstrap and of its HCAs' interfaces."""
    hcas: tuple[Mapping[str, Any], ...]
    """Each {"name", "netdev", "address", "mtu", "rate"}; empty: the user chose, any will do."""
    toolkit: str

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"rank {self.rank} ({self.node})"


def required(fabric: Fabric, overrides: Mapping[str, str]) -> str:
    """What the gate insists on: IB, or any (whatever NCCL opened), or none (one rank has no transport)."""
    if fabric.transport == "none":
        return "none"
    return "IB" if fabric.required and expected_transport(fabric, overrides) == "IB" else "any"


def network(fabric: Fabric, nodes: Sequence[Facts], overrides: Mapping[str, str]) -> list[dict[str, Any]]:
    """The gate's input: every rank as planned, as plain data (`expected` reads it back)."""
    chosen = "NCCL_IB_HCA" in overrides
    return [
        {
            "rank": rank,
            "node": facts.node,
            "hostname": facts.hostname,
            "addresses": [str(mine.address), *(str(h.address.ip) for h in mine.hcas if h.address)],
            "hcas": [
                {
                    "name": hca.name,
                    "netdev": hca.netdev,
                    "address": str(hca.address),
                    "mtu": hca.mtu,
                    "rate": hca.rate_gbps,
                }
                for hca in (() if chosen else mine.hcas)
            ],
            "toolkit": facts.toolkit,
        }
        for rank, (mine, facts) in enumerate(zip(fabric.ranks, nodes, strict=True))
    ]


def debug(overrides: Mapping[str, str]) -> str:
    """The user's own variables that decide what NCCL says, and where."""
    return ", ".join(f"{name}={value}" for name, value in sorted(overrides.items()) if "_DEBUG" in name)


def expected(network: Sequence[Mapping[str, Any]]) -> tuple[Expected, ...]:
    """The ranks from plain data; Pulumi hands numbers back as floats."""
    return tuple(
        Expected(
            int(one["rank"]),
            one["node"],
            one["hostname"],
            tuple(one["addresses"]),
            tuple(one["hcas"]),
            one["toolkit"],
        )
        for one in network
    )


def reports(ranks: Sequence[Expected], lines: Sequence[str]) -> dict[int, RankTransport]:
    """The last transport that each rank reported."""
    return {
        rank.rank: found[-1]
        for rank in ranks
        if (found := engine_log.transports(lines_of(rank, ranks, lines)))
    }


def lines_of(rank: Expected, ranks: Sequence[Expected], lines: Sequence[str]) -> list[str]:
    """NCCL's lines of one rank; of ranks that cannot be told apart, the lines of all."""
    written = [(line, found) for line in lines if (found := nccl_log.parse(line)) is not None]
    writers = _writers(ranks, [found for _, found in written])
    mine = []
    for line, found in written:
        named = _by_address(ranks, found)
        candidates = {named} if named is not None else writers[found.process]
        if rank.rank in candidates:
            mine.append(line)
    return mine


def _writers(ranks: Sequence[Expected], lines: Sequence[NcclLine]) -> dict[tuple[str, int], set[int]]:
    """Process -> the ranks it may be: by addresses, else by the rank that it printed, else by host name."""
    found: dict[tuple[str, int], set[int]] = {}
    printed: dict[tuple[str, int], set[int]] = {}
    for line in lines:
        found.setdefault(line.process, set())
        if (rank := _by_address(ranks, line)) is not None:
            found[line.process].add(rank)
        elif (own := line.own_rank) and own[1] == len(ranks):
            # In a communicator of some of the ranks, NCCL numbers them anew.
            printed.setdefault(line.process, set()).add(own[0])
    for process, known in found.items():
        known |= set() if known else printed.get(process, set())
        known |= set() if known else {rank.rank for rank in ranks if _short(rank.hostname) == process[0]}
    return found


def _short(hostname: str) -> str:
    """A host name as NCCL prints it."""
    return hostname.partition(".")[0]


def _by_address(ranks: Sequence[Expected], line: NcclLine) -> int | None:
    shown = line.own_address
    return next((r.rank for r in ranks if shown and shown in r.addresses), None)


def problems(
    ranks: Sequence[Expected],
    lines: Sequence[str],
    moved: Sequence[Counters] | None = None,
    debug: str = "",
) -> list[str]:
    """Why RDMA is not proven, a sentence for every rank where it is not; [] when all is well.

    `moved[i]`: what rank i's adapters moved during a completion, once that is known; `debug`: the user's
    own NCCL_DEBUG_… variables, which may hide what NCCL has to say.
    """
    said = reports(ranks, lines)
    found = []
    for place, rank in enumerate(ranks):
        what = _of_report(rank, said.get(rank.rank), debug)
        if not what and moved is not None:
            what = _of_counters(rank, said[rank.rank], moved[place])
        if what:
            mine = lines_of(rank, ranks, lines)
            found.append(f"{rank.name}: {what} {transport_causes.explain(rank, ranks, mine, what)}".strip())
    return found


def still(ranks: Sequence[Expected], lines: Sequence[str], moved: Sequence[Counters]) -> bool:
    """Whether an adapter that NCCL opened has not moved anything (yet)."""
    said = reports(ranks, lines)
    return any(
        bool(_of_counters(rank, said[rank.rank], counters))
        for rank, counters in zip(ranks, moved, strict=True)
        if rank.rank in said and said[rank.rank].transport == "IB"
    )


def difference(before: Sequence[Counters], after: Sequence[Counters]) -> list[dict[str, list[int]]]:
    """What moved between two readings; an adapter that was not there before counts from 0."""
    return [
        {
            hca: [new - old for new, old in zip(totals, then.get(hca, (0, 0)), strict=True)]
            for hca, totals in now.items()
        }
        for then, now in zip(before, after, strict=True)
    ]


def summary(ranks: Sequence[Expected], lines: Sequence[str], moved: Sequence[Counters]) -> list[str]:
    """The stack's output: a line per rank that reported."""
    said = reports(ranks, lines)
    text = []
    for rank, counters in zip(ranks, moved, strict=True):
        if rank.rank in said:
            one = said[rank.rank]
            devices = ", ".join(
                f"{name} (moved {sum(counters[name])} bytes)" if name in counters else name
                for name in one.devices
            )
            text.append(f"{rank.hostname}: NET/{one.transport} {devices}".strip())
    return text


def _of_report(rank: Expected, said: RankTransport | None, debug: str) -> str:
    if said is None:
        hint = f" (`nccl` sets {debug}: take that out)" if debug else ""
        return f"NCCL did not say which transport it opened{hint}."
    if said.transport != "IB":
        return "NCCL took sockets although the fabric is there, which is many times slower."
    missing = [hca["name"] for hca in rank.hcas if hca["name"] not in said.devices]
    if missing:
        opened = ", ".join(said.devices) or "none"
        return f"NCCL did not open {' and '.join(missing)} (it opened {opened})."
    return ""


def _of_counters(rank: Expected, said: RankTransport, counters: Counters) -> str:
    names = [hca["name"] for hca in rank.hcas] or list(said.devices)
    idle = [name for name in names if sum(counters.get(name, (0, 0))) < MOVED_BYTES]
    if not idle:
        return ""
    return f"the counters of {' and '.join(idle)} stood still during a completion."
