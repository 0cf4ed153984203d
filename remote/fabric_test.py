"""Running the tests of the cables on all nodes: the quick one (pings, loss, TCP), and the full one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster import link_report, rail_report
from cluster.errors import NodeError
from cluster.rail_report import Rails
from remote import answers, node
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
    lines, warnings, _ = _quick(props, shell)
    return lines, warnings


def measure_all(
    props: Mapping[str, Any],
    say: Callable[[str], None],
    shell: Callable[[Connection], Shell] = SshShell,
    client_of: Any = None,
) -> tuple[list[str], list[str], list[str]]:
    """(lines, warnings, notes): the quick test, then RDMA writes on each rail, then NCCL's all-reduce.

    `props` as `measure`'s, and `nccl` (cluster/nccl_test.py's plan) and `image`. Notes say what was not
    tested and why. Raises NodeError as `measure` does.
    """
    from remote import nccl_test, rail_test
    from remote.engine import connect

    wires = props["wires"]
    if not wires:
        return [], [], []
    connections = [Connection.from_props(one) for one in props["connections"]]
    say("TCP over every rail")
    lines, warnings, tcp = _quick(props, shell)
    if props["nccl"]:
        run = Runner([one.host for one in connections], [shell(one) for one in connections], "rail_test")
        rails = rail_test.measure(wires, run, say)
    else:
        rails = Rails(skipped=nccl_test.NO_RDMA)
    say("NCCL's all-reduce")
    nccl = nccl_test.measure(props["nccl"], str(props["image"]), connections, client_of or connect)
    lines = [f"{text}; {rail_report.rdma(wire, rails)}" for text, wire in zip(lines, wires, strict=True)]
    lines += rail_report.together_lines(wires, rails)
    if nccl.gbps is not None:
        lines.append(rail_report.nccl_line(wires, len(connections), nccl))
    return (
        lines,
        warnings + rail_report.warnings(wires, tcp, rails, nccl),
        rail_report.notes(rails, nccl),
    )


def _quick(
    props: Mapping[str, Any], shell: Callable[[Connection], Shell]
) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
    """(a line per wire, warnings, TCP's rate by the sender's and the receiver's address)."""
    wires = props["wires"]
    if not wires:
        return [], [], {}
    shells = [shell(Connection.from_props(one)) for one in props["connections"]]
    hosts = [one["host"] for one in props["connections"]]
    run = Runner(hosts, shells)
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
    return lines, warnings, {way: float(rate["gbps"]) for way, rate in rates.items()}


class Runner:
    """One of the tests' programs on nodes, by rank."""

    def __init__(self, hosts: Sequence[str], shells: Sequence[Shell], program: str = "link_test") -> None:
        self.hosts, self.shells, self.program = hosts, shells, program

    def one(self, rank: int, args: Mapping[str, Any]) -> Any:
        """The program's answer on one node. Raises NodeError when it gives none."""
        script = _script(self.program, args)
        result = self.shells[rank].run(COMMAND, stdin=script, timeout=DEADLINE_S)
        try:
            return node.answer(result.out)[self.program]
        except (ValueError, KeyError):
            raise NodeError(
                self.hosts[rank],
                f"the test of its cables broke off: {answers.said(result)}.",
                "Try it again.",
            ) from None

    def everywhere(self, args: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers of all nodes, which run side by side."""
        with ThreadPoolExecutor(len(args)) as pool:
            return list(pool.map(self.one, range(len(args)), args))


def _script(program: str, args: Mapping[str, Any]) -> str:
    """The program with its arguments: a token among them is on no command line."""
    words = ["-", json.dumps({program: args})]
    return f"import sys\nsys.argv = {words!r}\n{node.program(**{program: 'main'})}"


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
    run: Runner, wires: Sequence[Mapping[str, Any]], ears: Sequence[Mapping[str, Any]]
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


def _send(run: Runner, wire: Mapping[str, Any], this: int, ears: Sequence[Mapping[str, Any]]) -> Any:
    sender, receiver = int(wire["ranks"][this]), int(wire["ranks"][1 - this])
    own, other = wire["ends"][this]["address"], wire["ends"][1 - this]["address"]
    args = {
        "action": "send",
        "from": own,
        "to": other,
        "port": ears[receiver]["ports"][other],
        "udp": ears[receiver]["udp"][other],
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
