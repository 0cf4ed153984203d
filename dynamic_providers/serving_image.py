"""The serving image, looked into once before anything is started from it.

The work is in remote/serving_image.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pulumi
from docker.errors import DockerException
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, kept_on_failure

#: What is found, by name.
_FOUND = ("openmpi", "python", "ssh", "release", "transformers", "nccl", "driver")


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

        with kept_on_failure(props["image"], {**props, **dict.fromkeys(_FOUND, "")}):
            found = check(props)
        return CreateResult(id_=props["image"], outs={**props, **found})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Look into the new one."""
        from remote.serving_image import check

        return UpdateResult(outs={**_news, **check(_news)})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the container that an interrupted look left, if any."""
        from cluster.errors import TrtSparkError
        from remote.engine import connect
        from remote.serving_image import sweep
        from remote.ssh import Connection

        for one in _props["connections"]:
            # Such a container has ended; a node that is gone is told of elsewhere.
            with suppress(TrtSparkError, DockerException, OSError):
                sweep(connect(Connection.from_props(one)), every=True)


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
        super().__init__(ServingImageProvider(), name, {**props, **dict.fromkeys(_FOUND)}, opts)
