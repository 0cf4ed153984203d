"""Which network the ranks talk over, and each rank's environment for it.

Every rank gets its own variables, from its own machine's facts: cables may sit in different ports and
devices may have different names on the two sides. Shapes: one node, a pair (one cable or two), a ring of
three, up to eight nodes behind a switch. docs/decisions/0018 has the rules.
"""

from cluster.fabric.environment import cautions, environment, expected_transport, overridden
from cluster.fabric.plan import Wanted, plan
from cluster.fabric.shape import Fabric, RankNetwork, Transport, Wire, pcie_order, wires

__all__ = [
    "Fabric",
    "RankNetwork",
    "Transport",
    "Wanted",
    "Wire",
    "cautions",
    "environment",
    "expected_transport",
    "overridden",
    "pcie_order",
    "plan",
    "wires",
]
