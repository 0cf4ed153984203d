"""The screen of `trtspark status`: what is known, as lines that fit a small terminal. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster import affinity
from cluster.fit.constants import GIB
from cluster.service_spec import PAUSED
from cluster.spec_drift import Given, differences
from cluster.vitals import Load, Port, Rank, Vitals


@dataclass(frozen=True)
class State:
    """A stack now. `model` is configured, `deployed` what the last `up` left, `served` what answers."""

    stack: str
    endpoint: str
    model: str
    deployed: str
    served: str
    revision: str
    transport: Sequence[str]
    nodes: Sequence[Vitals]
    load: Load
    running: bool = True
    ranks: int = 0
    given: Sequence[Given] = ()
    """The ranks' services as the last `up` gave them to Swarm."""
    fault: str = ""
    """What is wrong with the answer to a short completion; "" for nothing, or when there was none in time."""

    @property
    def uptime(self) -> float | None:
        """Seconds since rank 0's container was made; None while it does not run."""
        ages = [
            rank.age
            for node in self.nodes
            for rank in node.ranks
            if rank.number == 0 and rank.state == "running"
        ]
        return min(ages) if ages else None

    @property
    def healthy(self) -> bool:
        """The deployed model answers, and nothing differs from what is configured."""
        return not self.drift and (bool(self.served) or not self.running)

    @property
    def drift(self) -> list[str]:
        """What is not as the configuration and the last `up` say, a short sentence each."""
        if not self.endpoint:
            return ["nothing is deployed: `pulumi up`"]
        found = [node.problem for node in self.nodes if node.problem]
        if self.model != self.deployed:
            found.append(f"{self.model} is configured, {self.deployed} deployed: `pulumi up`")
        if self.served and self.served != self.deployed:
            found.append(f"{self.served} is served, {self.deployed} deployed")
        specs = {
            rank.number: rank.spec for node in self.nodes for rank in node.ranks if rank.state == "running"
        }
        there = set(specs)
        paused = {rank.number for node in self.nodes for rank in node.ranks if rank.state == PAUSED}
        services = next((node.services for node in self.nodes if node.services is not None), None)
        if services is not None:
            found += differences(self.given, services, specs)
        if self.running and paused:
            found.append(f"rank {_numbers(paused)} is paused: `pulumi up` starts it again")
        lost = set(range(self.ranks)) - there - paused
        if self.running and lost and not any(node.problem for node in self.nodes):
            found.append(f"rank {_numbers(lost)} does not run")
        if not self.running and there:
            found.append("ranks run, and `running` is false: `pulumi up`")
        if self.running and self.served and self.fault:
            found.append(f"the API completes nothing: {self.fault}")
        if self.running and not self.served and not lost and not paused:
            found.append("the API does not answer: still loading? Else `pulumi up` starts it again")
        return found

    @property
    def warnings(self) -> list[str]:
        """What makes it slower than it has to be, a sentence each."""
        confined = [
            f"{node.node}: rank {rank.number}: {rank.confined}. {affinity.TODO}"
            for node in self.nodes
            for rank in node.ranks
            if rank.confined
        ]
        losing = [
            f"{node.node} {port.netdev or port.device}: {port.losing} since the last look. {port.todo}"
            for node in self.nodes
            for port in node.ports
            if port.losing
        ]
        return confined + losing

    def document(self) -> dict[str, Any]:
        """For --json: names as in this program, bytes, seconds, Gb/s; null for what is not known."""
        return {
            "stack": self.stack,
            "endpoint": self.endpoint or None,
            "model": {
                "configured": self.model,
                "deployed": self.deployed or None,
                "served": self.served or None,
            },
            "revision": self.revision or None,
            "uptime": self.uptime,
            "transport": list(self.transport),
            "load": asdict(self.load),
            "nodes": [_figures(node) for node in self.nodes],
            "drift": self.drift,
            "warnings": self.warnings,
            "healthy": self.healthy,
        }


def _numbers(ranks: set[int]) -> str:
    return ", ".join(map(str, sorted(ranks)))


def _figures(node: Vitals) -> dict[str, Any]:
    """Without the specs: what matters of them is the drift."""
    return {name: value for name, value in asdict(node).items() if name != "services"}


def rendered(state: State, width: int) -> RenderableType:
    """The screen for a terminal of `width` columns."""
    narrow = width < NARROW
    return Group(*_head(state), Text(), _nodes(state, narrow), *_links(state), Text(), *_last(state))


#: Below so many columns the table leaves the clock and words out.
NARROW = 76


def _head(state: State) -> list[Text]:
    served = Text("answers", "green") if state.served else Text("does not answer", "red")
    if state.served and state.fault:
        served = Text("completes nothing", "red")
    up = f", up {duration(state.uptime)}" if state.uptime is not None else ""
    model = state.deployed or state.model
    revision = f" @ {state.revision[:12]}" if state.revision else ""
    lines = [
        _line("Endpoint", Text.assemble(state.endpoint or "none", "  ", served, up)),
        _line("Model", Text(f"{model}{revision}")),
        _line("Load", Text(_load(state.load, bool(state.served)))),
    ]
    lines += [_line("Transport" if not n else "", Text(text)) for n, text in enumerate(state.transport[:4])]
    return lines


def _line(name: str, value: Text) -> Text:
    line = Text.assemble((f"{name:<10} ", "dim"), value)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _load(load: Load, answers: bool) -> str:
    if load.running is None and not answers:
        return "unknown: the API does not answer"
    if load.running is None:
        return "no figures (`iterationStats: true` has the engine keep them)"
    waiting = f", {load.waiting} waiting" if load.waiting else ""
    rate = "" if load.tokens_per_second is None else f", {load.tokens_per_second:.1f} tokens/s"
    return f"{load.running} request{'' if load.running == 1 else 's'} running{waiting}{rate}"


def _nodes(state: State, narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("Node", "GPU", "°C", "W", *(() if narrow else ("MHz",)), "Memory", "Rank", "Restarts"):
        table.add_column(name, justify="left" if name in ("Node", "Rank") else "right", no_wrap=True)
    for node in state.nodes:
        gpu = node.gpu
        cells = [_figure(gpu.use, " %"), _figure(gpu.temperature), _figure(gpu.power)]
        if not narrow:
            cells.append(_figure(gpu.clock))
        table.add_row(node.node, *cells, _memory(node), *_ranks(node.ranks, narrow))
    return table


def _ranks(ranks: Sequence[Rank], narrow: bool) -> tuple[str, str]:
    if not ranks:
        return "none", "-"
    words = [f"{rank.number}" if narrow else f"{rank.number} {rank.state}" for rank in ranks]
    return ", ".join(words), str(sum(rank.restarts for rank in ranks))


def _links(state: State) -> list[Text]:
    lines = []
    for node in state.nodes:
        for port in node.ports:
            lines.append(_line("", Text(f"{node.node}  {port.netdev or port.device}  {flow(port)}")))
    if lines:
        lines[0] = Text.assemble(("Links      ", "dim"), lines[0].plain.strip())
        lines[0].no_wrap, lines[0].overflow = True, "ellipsis"
    return [Text(), *lines] if lines else []


def flow(port: Port) -> str:
    """ "200 Gb/s, in 0.1, out 0.2" """
    rate = f"{port.rate:g} Gb/s" if port.rate is not None else "rate not known"
    if port.slow_pcie:
        rate += f" (PCIe only {port.slow_pcie})"
    if port.losing:
        rate += ", loses packets"
    if port.incoming is None or port.outgoing is None:
        return rate
    return f"{rate}, in {port.incoming:.2f}, out {port.outgoing:.2f}"


def _last(state: State) -> list[Text]:
    return [_drift(state), *(_line("Warning", Text(text, "yellow")) for text in state.warnings)]


def _drift(state: State) -> Text:
    found = state.drift
    text = Text(found[0], "yellow") if found else Text("none seen")
    if len(found) > 1:
        text.append(f" (and {len(found) - 1} more: --json)", "dim")
    return _line("Drift", text)


def _figure(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def _memory(node: Vitals) -> str:
    if not node.memory:
        return "-"
    return f"{(node.memory - node.available) / GIB:.1f}/{node.memory / GIB:.0f} GiB"


def duration(seconds: float) -> str:
    """ "42 s", "3 min", "5.2 h", "4 days" """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"
