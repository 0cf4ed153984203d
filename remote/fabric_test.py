"""Running the quick test of the cables on all nodes: the pings first, then throughput in rounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster import link_report
from cluster.errors import NodeError
from remote import node
from remote.ssh import Connection, Shell, SshShell

SECONDS = 0.5
LOOPBACK_SECONDS = 0.4
#: One TCP stream of one core does not fill a half.
STREAMS = 4
DEADLINE_S = 60
#: Runs the program on its standard input.
COMMAND = "LC_ALL=C python3 -I -S -"


def measure(
    props: Mapping[str, Any], shell: Callable[[Connection], Shell] = SshShell
) -> tuple[list[str], list[str]]:
    """(a line per wire, warnings) for `wires` (cluster/link_report.py's) between `connections`, by rank.

    Raises NodeError when a node cannot run the test at all; what is wrong with a cable is a warning.
    """
    wires = props["wires"]
    if not wires:
        return [], []
    shells = [shell(Connection.from_props(one)) for one in props["connections"]]
    hosts = [one["host"] for one in props["connections"]]
    run = _Runner(hosts, shells)
    checks = run.everywhere(
        [
            {"action": "check", "pings": pings, "loopback_s": LOOPBACK_SECONDS, "streams": STREAMS}
            for pings in _pings(wires, len(hosts))
        ]
    )
    ears = run.everywhere(
        [
            {
                "action": "listen",
                "addresses": mine,
                "connections": STREAMS * len(mine),
                "deadline_s": DEADLINE_S,
            }
            for mine in _addresses(wires, len(hosts))
        ]
    )
    rates = _rates(run, wires, ears)
    lines, warnings = [], []
    for wire in wires:
        figures = _figures(wire, checks, rates)
        lines.append(link_report.line(wire, figures))
        warnings += link_report.warnings(wire, figures)
    return lines, warnings


class _Runner:
    """Programs on nodes, by rank."""

    def __init__(self, hosts: Sequence[str], shells: Sequence[Shell]) -> None:
        self.hosts, self.shells = hosts, shells

    def one(self, rank: int, args: Mapping[str, Any]) -> Any:
        result = self.shells[rank].run(COMMAND, stdin=_script(args), timeout=DEADLINE_S)
        try:
            return node.answer(result.out)["link_test"]
        except (ValueError, KeyError):
            said = (result.err.strip().splitlines() or [f"exit code {result.code}"])[-1]
            raise NodeError(
                self.hosts[rank], f"the test of its cables broke off: {said}.", "Try it again."
            ) from None

    def everywhere(self, args: Sequence[Mapping[str, Any]]) -> list[Any]:
        with ThreadPoolExecutor(len(args)) as pool:
            return list(pool.map(self.one, range(len(args)), args))


def _script(args: Mapping[str, Any]) -> str:
    """The program with its arguments: a token among them is on no command line."""
    words = ["-", json.dumps({"link_test": args})]
    return f"import sys\nsys.argv = {words!r}\n{node.program(link_test='main')}"


def _pings(wires: Sequence[Mapping[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    """For every rank, the pings that it sends."""
    found: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for wire in wires:
        for this in (0, 1):
            own, other = wire["ends"][this], wire["ends"][1 - this]
            ping = {"from": own["address"], "to": other["address"], "mtu": int(own["mtu"])}
            found[int(wire["ranks"][this])].append(ping)
    return found


def _addresses(wires: Sequence[Mapping[str, Any]], count: int) -> list[list[str]]:
    """For every rank, where it listens: once per wire, so that each has its own receiver."""
    found: list[list[str]] = [[] for _ in range(count)]
    for wire in wires:
        for rank, end in zip(wire["ranks"], wire["ends"], strict=True):
            found[int(rank)].append(end["address"])
    return found


def _rates(
    run: _Runner, wires: Sequence[Mapping[str, Any]], ears: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], Any]:
    """(from, to) -> what `send` gave; pairs that share no node side by side, all else in sequence."""

    def pair(mine: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
        return {
            (wire["ends"][this]["address"], wire["ends"][1 - this]["address"]): _send(run, wire, this, ears)
            for wire in mine
            for this in (0, 1)
        }

    found: dict[tuple[str, str], Any] = {}
    for pairs in link_report.rounds(wires):
        with ThreadPoolExecutor(len(pairs)) as pool:
            for one in pool.map(pair, pairs):
                found |= one
    return found


def _send(run: _Runner, wire: Mapping[str, Any], this: int, ears: Sequence[Mapping[str, Any]]) -> Any:
    sender, receiver = int(wire["ranks"][this]), int(wire["ranks"][1 - this])
    own, other = wire["ends"][this]["address"], wire["ends"][1 - this]["address"]
    args = {
        "action": "send",
        "from": own,
        "to": other,
        "port": ears[receiver]["ports"][other],
        "seconds": SECONDS,
        "streams": STREAMS,
        "token": ears[receiver]["token"],
    }
    return run.one(sender, args)


def _figures(
    wire: Mapping[str, Any], checks: Sequence[Mapping[str, Any]], rates: Mapping[tuple[str, str], Any]
) -> link_report.Figures:
    ways = [(this, 1 - this) for this in (0, 1)]
    ends = [end["address"] for end in wire["ends"]]
    ranks = [int(rank) for rank in wire["ranks"]]
    pings = [
        next(p for p in checks[ranks[a]]["pings"] if (p["from"], p["to"]) == (ends[a], ends[b]))
        for a, b in ways
    ]
    return link_report.Figures(
        pings,
        [rates[ends[a], ends[b]] for a, b in ways],
        min(checks[rank]["loopback_gbps"] for rank in ranks),
    )
