"""Checks of the cables between the nodes: what NCCL would find there, and what would keep it from RDMA."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster import fabric
from cluster.checks.table import Context, Finding, check
from cluster.errors import PlanError
from cluster.fabric import Fabric

#: The first release that puts RDMA devices into a container (NVIDIA_MOFED).
MOFED_TOOLKIT = (1, 11)
#: Gb/s: what every QSFP port of a Spark does with the right cable.
FULL_RATE_GBPS = 200


def _plan(context: Context) -> Fabric | None:
    wanted = [node.fabric for node in context.settings.active_nodes]
    try:
        return fabric.plan(context.nodes, wanted, context.settings.transport)
    except PlanError:
        return None


@check(
    "fabric.transport",
    "The ranks can talk over RDMA where they must (`transport`).",
    "Check the QSFP cable and the addresses of its two interfaces (`ibdev2netdev`, `ip -br addr`), or "
    "allow sockets: `pulumi config set transport any`.",
)
def transport(context: Context) -> Iterator[Finding]:
    """Everything that the plan refuses, and NCCL variables that contradict `transport`."""
    wanted = [node.fabric for node in context.settings.active_nodes]
    try:
        found = fabric.plan(context.nodes, wanted, context.settings.transport)
    except PlanError as error:
        yield Finding("FAIL", "", str(error), "")
        return
    nccl = context.settings.nccl
    if context.settings.transport == "rdma" and fabric.expected_transport(found, nccl) == "Socket":
        yield Finding(
            "FAIL",
            "",
            "transport is rdma, and `nccl` turns RDMA off (NCCL_IB_DISABLE or NCCL_NET).",
            "Take one of the two out.",
        )


@check(
    "fabric.halves",
    "Both halves of every cable are used, in subnets that face each other.",
    "Give both halves an address on every node, one subnet per half.",
    "WARN",
)
def halves(context: Context) -> Iterator[Finding]:
    """What the plan warns of."""
    found = _plan(context)
    for warning in found.warnings if found else ():
        node = next((f.node for f in context.nodes if warning.startswith(f"{f.node}: ")), "")
        yield Finding("WARN", node, warning.removeprefix(f"{node}: ") if node else warning, "")


@check(
    "fabric.mtu",
    "The two ends of every cable have one MTU.",
    "Set the same MTU on both, 9000 best (netplan: `mtu: 9000`).",
    "WARN",
)
def mtu(context: Context) -> Iterator[Finding]:
    """RoCE takes the smaller of a port's own; ends that differ lose packets or the connection."""
    found = _plan(context)
    for wire in fabric.wires(found) if found else ():
        here, there = wire.ends
        if here.mtu != there.mtu:
            first, second = (context.nodes[rank].node for rank in wire.ranks)
            yield Finding(
                "WARN",
                second,
                f"{there.netdev} has MTU {there.mtu}; {here.netdev} of {first}, which it faces, {here.mtu}.",
                f"Set one on both, 9000 best: `sudo ip link set {there.netdev} mtu …`, and in netplan.",
            )


@check(
    "fabric.rate",
    "Every used link runs at 200 Gb/s.",
    "Another cable or port: `ethtool IFACE` should say 200000Mb/s.",
    "WARN",
)
def rate(context: Context) -> Iterator[Finding]:
    """A cable or a switch port of 100 Gb/s works, at half the speed."""
    found = _plan(context)
    for facts, rank in zip(context.nodes, found.ranks if found else (), strict=False):
        for hca in rank.hcas:
            if 0 < hca.rate_gbps < FULL_RATE_GBPS:
                yield Finding(
                    "WARN",
                    facts.node,
                    f"the link of {hca.netdev} ({hca.name}) does {hca.rate_gbps} of {FULL_RATE_GBPS} Gb/s.",
                    "Another cable or switch port; `ethtool` there should say 200000Mb/s.",
                )


@check(
    "fabric.toolkit",
    "NVIDIA's container toolkit can put RDMA devices into a container (1.11 or later).",
    "`sudo apt-get install --only-upgrade nvidia-container-toolkit`.",
    "FAIL",
    "WARN",
)
def toolkit(context: Context) -> Iterator[Finding]:
    """Older ones ignore NVIDIA_MOFED without a word, and NCCL finds no device."""
    found = _plan(context)
    if found is None or found.transport != "IB":
        return
    for facts in context.nodes:
        numbers = re.match(r"(\d+)\.(\d+)", facts.toolkit)
        if numbers and (int(numbers[1]), int(numbers[2])) < MOFED_TOOLKIT:
            yield Finding(
                "FAIL" if found.required else "WARN",
                facts.node,
                f"NVIDIA's container toolkit is {facts.toolkit}, which gives containers no RDMA devices.",
                "It needs 1.11 or later: `sudo apt-get install --only-upgrade nvidia-container-toolkit`.",
            )
