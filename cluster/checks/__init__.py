"""Checks: what can be known to be wrong from the facts alone, each with its level and its fix.

One table serves four places: `pulumi preview` and `up` refuse what FAILs and print what WARNs, the doctor
shows all of them, and docs/checks.md is generated from it. A check is one function over a `Context`; it
yields a `Finding` for everything that is wrong and nothing where all is well.
"""

from __future__ import annotations

from cluster.checks import (  # noqa: F401  # each registers its checks
    access,
    docker,
    fabric,
    fit,
    image,
    machine,
    memory,
    network,
    parallel,
    serving,
    swarm,
    toolkit,
    weights,
)
from cluster.checks.table import CHECKS, Check, Context, Finding, check, findings

__all__ = ["CHECKS", "Check", "Context", "Finding", "check", "findings"]
