"""The serving image, looked into once before anything is started from it.

The work is in remote/serving_image.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed


class ServingImageProvider(Provider):
    """`image`, `connections` (head first), `several` (ranks), `use` (by which the release is judged) ->
    openmpi, python, ssh, release, transformers, nccl, driver: what was found.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """The same image for the same use is looked into once: a digest is its content."""
        return changed(_olds, _news, ("image", "several"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Look. Raises PlanError naming what is missing."""
        from remote.serving_image import check

        return CreateResult(id_=props["image"], outs={**props, **check(props)})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Look into the new one."""
        from remote.serving_image import check

        return UpdateResult(outs={**_news, **check(_news)})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing was left there."""


class ServingImage(Resource, module="trtspark", name="ServingImage"):
    """An image that has what the launch needs."""

    def __init__(
        self,
        name: str,
        image: pulumi.Input[str],
        connections: Sequence[Mapping[str, Any]],
        use: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`image` by digest, or by name where it is not ours to pull; `connections` head first; `use` as
        cluster/image_table.py gives it.
        """
        props = {
            "image": image,
            "connections": [dict(one) for one in connections],
            "several": len(connections) > 1,
            "use": dict(use),
        }
        found = ("openmpi", "python", "ssh", "release", "transformers", "nccl", "driver")
        outs = dict.fromkeys(found)
        super().__init__(ServingImageProvider(), name, {**props, **outs}, opts)
