"""Checks of the cables between the nodes: what NCCL would find there, and what would keep it from RDMA."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import fabric
from cluster.checks.access import not_its_own
from cluster.checks.table import Context, Finding, Level, check
from cluster.errors import PlanError
from cluster.fabric import Fabric
from cluster.facts import SPARK_PCIE


def _plan(context: Context) -> Fabric | None:
    wanted = [node.fabric for node in context.settings.active_nodes]
    try:
        return fabric.plan(context.nodes, wanted, context.settings.transport)
    except PlanError:
        return None


def _finding(level: Level, context: Context, text: str) -> Finding:
    """The plan's own words: the node they begin with, what was found, and after the first stop what to do."""
    node = next((f.node for f in context.nodes if text.startswith(f"{f.node}: ")), "")
    found, stop, todo = (text.removeprefix(f"{node}: ") if node else text).partition(". ")
    return Finding(level, node, f"{found}.", todo) if stop else Finding(level, node, found, "")


@check(
    "fabric.transport",
    "The ranks can talk over RDMA where they must (`transport`).",
    "Check the QSFP cable and the addresses of its two interfaces (`ibdev2netdev`, `ip -br addr`), or "
    "allow sockets: `pulumi config set transport any`.",
    "FAIL",
    "WARN",
)
def transport(context: Context) -> Iterator[Finding]:
    """Everything that the plan refuses, and NCCL variables that contradict `transport`."""
    wanted = [node.fabric for node in context.settings.active_nodes]
    if len(context.nodes) > 1 and any(not_its_own(facts) for facts in context.nodes):
        return  # another check's
    if any(facts.ipv6 and not int(facts.address) for facts in context.nodes):
        return  # likewise
    try:
        found = fabric.plan(context.nodes, wanted, context.settings.transport)
    except PlanError as error:
        yield _finding("FAIL", context, str(error))
        return
    if found.transport == "Socket":
        yield from (_finding("WARN", context, text) for text in found.warnings)
    nccl = context.settings.nccl
    if context.settings.transport == "rdma" and fabric.expected_transport(found, nccl) == "Socket":
        yield Finding(
            "FAIL",
            "",
            "transport is rdma, and `nccl` turns RDMA off (NCCL_IB_DISABLE or NCCL_NET).",
            "Take one of the two out.",
        )
    if found.transport == "IB":
        yield from (_finding("WARN", context, text) for text in fabric.cautions(nccl))


@check(
    "fabric.halves",
    "Both halves of every cable are used, in subnets that face each other.",
    "Give both halves an address on every node, one subnet per half.",
    "WARN",
)
def halves(context: Context) -> Iterator[Finding]:
    """What the plan warns of where it uses RDMA."""
    found = _plan(context)
    if found and found.transport == "IB":
        yield from (_finding("WARN", context, text) for text in found.warnings)


@check(
    "fabric.pcie",
    "Each ConnectX-7 function in use has all its PCIe lanes at full speed (x4 at 32 GT/s).",
    "Update the machine's firmware, then shut it down and unplug it for a minute; if the link stays narrow "
    "or slow, ask the vendor.",
    "WARN",
    alone=True,
)
def pcie(context: Context) -> Iterator[Finding]:
    """Functions without a cable are left out: what they do not carry is nobody's loss."""
    full = SPARK_PCIE
    for facts in context.nodes:
        for hca in facts.hcas:
            link = hca.pcie
            if not hca.active or link is None or not link.slow:
                continue
            able = ""
            if link.max_width > link.width or link.max_speed > link.speed:
                able = f"; the adapter itself can do x{link.max_width} at {link.max_speed:g} GT/s"
            yield Finding(
                "WARN",
                facts.node,
                f"{hca.name} ({hca.netdev}, PCI {hca.pci}) has a PCIe link of {link}, where a Spark has "
                f"x{full.width} at {full.speed:g}{able}. It carries "
                f"{link.gbps:.0f} Gb/s at most instead of {full.gbps:.0f}.",
                "Update the firmware (`fwupdmgr update`), shut the machine down and unplug it for a minute. "
                f"If `sudo lspci -vv -s {hca.pci}` still shows this under LnkSta, ask the vendor: some ASUS "
                "GX10 have only two lanes on one function.",
            )
