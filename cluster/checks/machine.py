"""Checks of the machines themselves."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.checks.table import Context, Finding, check


@check(
    "machine.twice",
    "Each Spark is listed once.",
    "Take one of the two entries out of nodes.",
)
def same_machine(context: Context) -> Iterator[Finding]:
    """Two addresses that lead to one GPU."""
    seen: dict[str, str] = {}
    for facts in context.nodes:
        if facts.gpu_uuid in seen:
            yield Finding(
                "FAIL",
                "",
                f"{facts.node} and {seen[facts.gpu_uuid]} are the same machine ({facts.hostname}, "
                f"{facts.gpu_uuid}).",
                "List each Spark once under nodes.",
            )
        seen.setdefault(facts.gpu_uuid, facts.node)
