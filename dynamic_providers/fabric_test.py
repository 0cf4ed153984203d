"""The quick test of the cables as a resource: it runs once, and again when addresses, MTU or rates change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, output, warn


class FabricTestProvider(Provider):
    """`wires`, `connections` -> fabric (a line per wire), warnings. A slow cable never fails a deployment."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Only another fabric is worth another test."""
        return changed(_olds, _news, ("wires",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Test it."""
        return CreateResult(id_="fabric", outs=test(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Test it anew."""
        return UpdateResult(outs=test(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing was left anywhere."""


def test(props: dict[str, Any]) -> dict[str, Any]:
    """The outputs; warnings are shown too."""
    from remote.fabric_test import measure

    say = warn()
    lines, warnings = measure(props)
    for warning in warnings:
        say(warning)
    return {**props, "fabric": lines, "warnings": warnings}


class FabricTest(Resource, module="trtspark", name="FabricTest"):
    """What the cables between the nodes really do."""

    fabric: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        wires: Sequence[Mapping[str, Any]],
        connections: Sequence[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`wires`: cluster/link_report.py's; `connections` by rank."""
        props = {"wires": list(wires), "connections": list(connections), "fabric": None, "warnings": None}
        super().__init__(FabricTestProvider(), name, props, opts)
        self.fabric = output(self, "fabric")
