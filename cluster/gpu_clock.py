"""The cap on the GPU's clock (`gpuClockLimit`): as it should be on a node, and what the probe found.

The work is remote/node/gpu_clock.py's.
"""

from __future__ import annotations

import re

from cluster.facts import Facts

#: A GB10's own range in MHz: its driver's largest clock (clocks.max.sm), and a floor below which a Spark that
#: is capped could not be told from one that is stuck at low power (field reports: about 611 MHz).
LEAST, MOST = 1000, 3003
#: The unit's file on a node.
UNIT = "/etc/systemd/system/trtspark-gpu-clock.service"
_LIMIT = re.compile(r"--lock-gpu-clocks=0,(\d+)\b")


def unit_limit(text: str | None) -> int | None:
    """The cap in MHz that our unit's text sets; None for no unit, or one that sets none."""
    found = _LIMIT.search(text or "")
    return int(found[1]) if found else None


def wanted(limit: int) -> dict[str, str]:
    """Each thing as it should be, in the words of remote/node/gpu_clock.py's `read`."""
    return {"unit": f"{limit} MHz", "boot": "enabled", "now": "in force"}


def steps(facts: Facts, limit: int) -> list[str]:
    """What `up` will do there, as far as the unit's file tells; [] when it is as it should be."""
    if facts.clock_limit == limit:
        return []
    was = f"{facts.clock_limit} MHz" if facts.clock_limit else "none"
    return [f"GPU clock cap: {was} -> {limit} MHz"]
