"""Findings of both tables as the rows of one report: PASS, NOTE, WARN, FAIL or SKIP, check by check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cluster.checks import CHECKS, Finding
from cluster.errors import NodeError, TrtSparkError
from cluster.facts import Facts
from cluster.live import LIVE_CHECKS, Live, LiveCheck

Status = Literal["PASS", "NOTE", "WARN", "FAIL", "SKIP"]
#: Exit codes from 126 on are the shell's.
MOST_FAILURES = 125
#: The form of `--json`: raised when a field goes or means something else.
FORMAT = 1
REACHED = "node.reached"
RESOLVED = "model.resolved"
#: Checks between machines that belong to the Swarm's part of the report.
_SHARED = frozenset({"swarm.certificates", "swarm.expired"})


@dataclass(frozen=True)
class Row:
    """One check's outcome. `node` is "" where it is about all of them; `found` and `fix` are sentences."""

    check: str
    status: Status
    node: str
    found: str
    fix: str = ""
    area: str = "node"


@dataclass(frozen=True)
class Report:
    """Everything one run of the doctor found. `machines`: node -> one line on what it is."""

    stack: str
    mode: str
    deployed: bool
    nodes: Sequence[str]
    machines: Mapping[str, str]
    rows: Sequence[Row]
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """How many rows have that status."""
        return sum(row.status == status for row in self.rows)

    @property
    def exit_code(self) -> int:
        """The number of failures, capped."""
        return min(self.count("FAIL"), MOST_FAILURES)

    def document(self) -> dict[str, Any]:
        """`--json`: see docs/doctor.md."""
        words = ("PASS", "NOTE", "WARN", "FAIL", "SKIP")
        return {
            "format": FORMAT,
            "stack": self.stack,
            "mode": self.mode,
            "deployed": self.deployed,
            "nodes": [{"node": node, "machine": self.machines.get(node, "")} for node in self.nodes],
            "summary": {word.lower(): self.count(word) for word in words},  # type: ignore[arg-type]
            "checks": [asdict(row) for row in self.rows],
        }


def of_errors(errors: Sequence[TrtSparkError], hosts: Sequence[str]) -> list[Row]:
    """Why machines were not reached, and why the model cannot be had."""
    rows = []
    unreached = set()
    for error in errors:
        host = _host(error, hosts)
        if host:
            unreached.add(host)
            assert isinstance(error, NodeError)
            rows.append(Row(REACHED, "FAIL", host, error.found, error.todo))
        else:
            found, stop, todo = str(error).partition(". ")
            rows.append(Row(RESOLVED, "FAIL", "", f"{found}{stop.strip()}", todo, "swarm"))
    rows += [Row(REACHED, "PASS", host, "ssh and python3 answer.") for host in hosts if host not in unreached]
    return rows


def _host(error: TrtSparkError, hosts: Sequence[str]) -> str:
    if not isinstance(error, NodeError):
        return ""
    bare = error.node.rpartition("@")[2].partition(":")[0].strip("[]")
    return next((host for host in hosts if host in (error.node, bare)), "")


def of_facts(findings: Sequence[Finding], nodes: Sequence[Facts], all_reached: bool) -> list[Row]:
    """The checks of the facts: a row per node, or one for what is between them."""
    rows = []
    for check in CHECKS.values():
        area = "swarm" if check.id in _SHARED else "node"
        mine = [one for one in findings if one.check == check.id]
        rows += [Row(check.id, one.level, one.node, one.found, one.todo, area) for one in mine]
        if not check.alone and not all_reached:
            rows.append(Row(check.id, "SKIP", "", "needs an answer of every node.", area=area))
        elif check.alone:
            told = {one.node for one in mine}
            rows += [
                Row(check.id, "PASS", facts.node, check.about, area=area)
                for facts in nodes
                if facts.node not in told and "" not in told
            ]
        elif not mine:
            rows.append(Row(check.id, "PASS", "", check.about, area=area))
    return rows


def of_live(live: Live | None) -> list[Row]:
    """The live checks; None: not every node was reached."""
    rows = []
    for check in LIVE_CHECKS.values():
        if live is None:
            rows.append(Row(check.id, "SKIP", "", "needs an answer of every node.", area=check.area))
        elif why := check.skipped(live):
            rows.append(Row(check.id, "SKIP", "", f"{why}.", area=check.area))
        else:
            rows += _of_one(check, live)
    return rows


def _of_one(check: LiveCheck, live: Live) -> list[Row]:
    found = check(live)
    if not found:
        return [Row(check.id, "PASS", "", check.about, area=check.area)]
    return [Row(check.id, one.level, one.node, one.found, one.todo, check.area) for one in found]


def of_notes(notes: Sequence[str]) -> list[Row]:
    """What is good to know of the model."""
    return [Row(RESOLVED, "NOTE", "", note, area="swarm") for note in notes]


def chosen(rows: Sequence[Row], hosts: Sequence[str], part: str) -> list[Row]:
    """The rows of `--head`, `--worker` or `--swarm`; "" for all."""
    match part:
        case "head":
            return [row for row in rows if row.area == "node" and row.node in ("", hosts[0])]
        case "worker":
            return [row for row in rows if row.area == "node" and row.node != hosts[0]]
        case "swarm":
            return [row for row in rows if row.area == "swarm" or row.check.startswith(("swarm.", "docker."))]
        case _:
            return list(rows)


def machine(facts: Facts) -> str:
    """What a node is, in one line."""
    halves = [f"{hca.name} {hca.rate_gbps} Gb/s" for hca in facts.hcas if hca.usable]
    memory = f"{facts.ram.available / 2**30:.0f} of {facts.ram.total / 2**30:.0f} GiB free"
    cache = facts.disks.get("cache")
    parts = [
        facts.hostname,
        f"{facts.gpu_name or 'no GPU'}, driver {facts.driver or '?'}",
        f"Docker {facts.docker.version or facts.docker.problem}",
        f"kernel {facts.kernel}",
        f"memory {memory}",
        f"cache {cache.free / 1e9:.0f} GB free" if cache else "",
        ", ".join(halves) or "no fabric",
        f"clock {facts.clock_offset:+.0f} s" if facts.clock_offset is not None else "",
    ]
    return "; ".join(part for part in parts if part)
