"""The test of the cables as a resource: it runs once, and again when addresses, MTU, rates or mode change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pulumi
from docker.errors import DockerException
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, output, progress, warn


class FabricTestProvider(Provider):
    """`wires`, `connections`, `mode` (quick or full; full with `nccl` and `image`) -> fabric (a line per
    wire), warnings. A slow cable never fails a deployment.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Only another fabric is worth another test."""
        return changed({"mode": "quick", **_olds}, _news, ("wires", "mode"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Test it."""
        return CreateResult(id_="fabric", outs=test(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Test it anew."""
        return UpdateResult(outs=test(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove what an interrupted full test left, the doctor's too: there may be no next one."""
        from cluster.errors import TrtSparkError
        from remote import nccl_test
        from remote.engine import connect
        from remote.ssh import Connection

        for one in _props["connections"]:
            # Such a container ends at its deadline; a node that is gone is told of elsewhere.
            with suppress(TrtSparkError, DockerException, OSError):
                nccl_test.sweep(connect(Connection.from_props(one)))


def test(props: dict[str, Any]) -> dict[str, Any]:
    """The outputs; warnings are shown too."""
    from remote.fabric_test import measure, measure_all

    say, complain = progress(), warn()
    if props.get("mode") == "full":
        lines, warnings, notes = measure_all(props, say)
        lines += notes
    else:
        lines, warnings = measure(props)
    for warning in warnings:
        complain(warning)
    return {**props, "fabric": lines, "warnings": warnings}


class FabricTest(Resource, module="trtspark", name="FabricTest"):
    """What the cables between the nodes really do."""

    fabric: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        wires: Sequence[Mapping[str, Any]],
        connections: Sequence[Mapping[str, Any]],
        full: Mapping[str, Any] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`wires`: cluster/link_report.py's; `connections` by rank. `full`: what the full test needs besides,
        `nccl` (cluster/nccl_test.py's plan) and `image`; None for the quick one.
        """
        props = {
            "wires": list(wires),
            "connections": list(connections),
            "mode": "quick" if full is None else "full",
            **(full or {}),
            "fabric": None,
            "warnings": None,
        }
        super().__init__(FabricTestProvider(), name, props, opts)
        self.fabric = output(self, "fabric")
