"""Live checks of the endpoint: which model answers, over what, and what its log says."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import affinity, engine_causes
from cluster.checks.table import Finding, Level
from cluster.live.seen import Live
from cluster.live.swarm import UP
from cluster.live.table import live_check
from cluster.log_lines import Reader


@live_check(
    "stack.applied",
    "What is configured is what is deployed.",
    "`pulumi preview` shows the difference, `pulumi up` makes it so.",
    "WARN",
    area="swarm",
)
def applied(live: Live) -> Iterator[Finding]:
    """The model and the number of nodes; `pulumi preview` compares all."""
    there = str(live.outputs.get("model") or "")
    wanted = live.settings.model if live.settings.running else ""
    nodes = live.outputs.get("nodes") or []
    if there != wanted:
        yield Finding(
            "WARN",
            "",
            f"{there or 'nothing'} is deployed, and {wanted or 'nothing'} is configured.",
            "`pulumi up` makes it so.",
        )
    if len(nodes) != len(live.settings.active_nodes):
        yield Finding(
            "WARN",
            "",
            f"{len(nodes)} nodes are deployed, and {len(live.settings.active_nodes)} are configured.",
            "`pulumi up` makes it so.",
        )


@live_check(
    "endpoint.answers",
    "The endpoint answers, and lists the deployed model.",
    "`trtspark logs` explains what the server says; `pulumi up` starts one again that does not answer.",
    needs="answer",
    area="swarm",
)
def answers(live: Live) -> Iterator[Finding]:
    """GET /v1/models."""
    assert live.answer is not None
    url, wanted = live.outputs["endpoint"], live.outputs["model"]
    if not live.answer.model:
        yield Finding(
            "FAIL",
            "",
            f"{url} gives no answer ({live.answer.said}).",
            "It may still be loading: `trtspark logs --follow`. Else `pulumi up` starts it again.",
        )
    elif live.answer.model != wanted:
        yield Finding(
            "FAIL",
            "",
            f"{url} serves {live.answer.model}, and {wanted} is deployed.",
            f"Does another program listen there? Run {UP}",
        )


@live_check(
    "endpoint.completes",
    "The endpoint answers a short completion, and sanely.",
    "`trtspark logs`; an engine that fails or hangs is started again within three minutes.",
    needs="answer",
    area="swarm",
)
def completes(live: Live) -> Iterator[Finding]:
    """A server whose worker is gone may list its model and complete nothing."""
    assert live.answer is not None
    if live.answer.completes is False:
        known = engine_causes.recognised(live.answer.said)
        yield Finding(
            "FAIL",
            "",
            f"{live.outputs['endpoint']} lists its model but completes nothing ({live.answer.said}).",
            f"{known.means[:1].upper()}{known.means[1:]}: {known.todo}."
            if known
            else "`trtspark logs` explains what the server says.",
        )


@live_check(
    "transport.proven",
    "The last `up` has proven RDMA on every rank, where ranks share a fabric.",
    "Cable and addresses (`trtspark doctor --full`), then `pulumi up`.",
    "WARN",
    needs="serving",
    area="swarm",
)
def transport(live: Live) -> Iterator[Finding]:
    """As its output says."""
    lines = [str(line) for line in live.outputs.get("transport") or []]
    if len(live.settings.active_nodes) == 1:
        return
    slow = [line.partition(":")[0] for line in lines if "NET/Socket" in line]
    if slow:
        yield Finding(
            "WARN",
            "",
            f"{' and '.join(slow)} talk over sockets, which is many times slower than RDMA.",
            "Cable and addresses: `trtspark doctor --full` tests them; then `pulumi up`.",
        )
    elif len(lines) < len(live.settings.active_nodes):
        yield Finding(
            "WARN",
            "",
            f"the last `up` has proven the transport of {len(lines)} of "
            f"{len(live.settings.active_nodes)} ranks.",
            "Take NCCL_DEBUG out of `nccl`, and `pulumi up`.",
        )


@live_check(
    "ranks.paused",
    "No rank's container is paused.",
    "`pulumi up` starts it again.",
    needs="serving",
)
def paused(live: Live) -> Iterator[Finding]:
    """By `docker pause`: Swarm calls it running."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        for rank in machine.paused:
            yield Finding(
                "FAIL", facts.node, f"rank {rank} is paused (`docker pause`).", "`pulumi up` starts it again."
            )


@live_check(
    "ranks.cores",
    "Every thread of every rank and of the server may use all of its container's cores.",
    affinity.TODO,
    "WARN",
    needs="serving",
)
def cores(live: Live) -> Iterator[Finding]:
    """As the kernel has it now."""
    for facts, machine in zip(live.nodes, live.machines, strict=True):
        for rank, text in sorted(machine.confined.items()):
            yield Finding("WARN", facts.node, f"rank {rank}: {text}.", affinity.TODO)


@live_check(
    "log.known",
    "The running server's log shows no known problem.",
    "`trtspark logs` marks and explains the lines.",
    "WARN",
    needs="log",
    area="swarm",
)
def log(live: Live) -> Iterator[Finding]:
    """Of the container that runs now; the first line of each kind."""
    reader, told = Reader(), set()
    for raw in live.log or ():
        line = reader.read(raw)
        if line.known and not line.harmless and line.id not in told:
            told.add(line.id)
            means, _, todo = line.known.partition(": ")
            yield Finding("WARN", "", f"the log says {line.text.strip()[:160]!r}: {means}.",
                          f"{todo[:1].upper()}{todo[1:]}." if todo else "")  # fmt: skip


@live_check(
    "fabric.test",
    "Packets of the full MTU pass each rail both ways, none are lost; TCP, RDMA and NCCL are fast enough.",
    "Cable, MTU (9000 on both ends), firewall and PCIe link; docs/fabric.md has the figures to expect.",
    "WARN",
    "NOTE",
    needs="fabric",
    area="swarm",
)
def fabric_test(live: Live) -> Iterator[Finding]:
    """The full test of the cables, run now: its warnings, what was not tested, and every figure."""
    if live.fabric is None:
        return
    for warning in live.fabric.warnings:
        yield _sentences("WARN", warning)
    for note in live.fabric.notes:
        yield _sentences("NOTE", note)
    for line in live.fabric.lines:
        yield Finding("NOTE", "", f"{line}.", "")


def _sentences(level: Level, text: str) -> Finding:
    """What was found up to the first full stop, what to do after it."""
    found, _, todo = text.partition(". ")
    return Finding(level, "", f"{found.rstrip('.')}.", todo)
