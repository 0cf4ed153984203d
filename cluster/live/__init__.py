"""Live checks: what can be known to be wrong with a deployment by looking at what runs.

They are the doctor's only: `pulumi up` proves its own work, and `pulumi refresh` shows what drifted.
"""

from __future__ import annotations

from cluster.live import gpus, machines, serving, swarm  # noqa: F401  # each registers its checks
from cluster.live.seen import Answer, CableTest, Live, Machine, Member, Service, Task
from cluster.live.table import LIVE_CHECKS, LiveCheck, live_check

__all__ = [
    "LIVE_CHECKS",
    "Answer",
    "CableTest",
    "Live",
    "LiveCheck",
    "Machine",
    "Member",
    "Service",
    "Task",
    "live_check",
]
