"""The serving image on one node, pulled where it is not there.

The work is in remote/image_pull.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, as_read, changed, given_up, output, progress, warn

_INPUTS = ("stack", "image", "connection", "missing")


class ImagePullProvider(Provider):
    """`stack`, `image`, `connection`, `missing` (what preflight or a refresh found, or "") -> digest."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another image is an update; another machine has a job of its own."""
        olds, news = ({**props, "host": props["connection"]["host"]} for props in (_olds, _news))
        return changed(olds, news, ("image", "missing"), replaces=("host", "stack"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Pull what is not there; one that runs already is waited for."""
        from remote.image_pull import ensure

        return CreateResult(
            id_=props["connection"]["host"],
            outs={**props, "missing": "", "digest": ensure(props, progress())},
        )

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise. The old image stays, as with every pull."""
        from cluster.errors import TrtSparkError
        from remote.image_pull import ensure

        try:
            digest = ensure(_news, progress())
        except TrtSparkError as error:
            # Every service waits for all pulls: nothing of the server has changed yet.
            raise TrtSparkError(f"{error} The server was not touched: what ran before still runs.") from None
        return UpdateResult(outs={**_news, "missing": "", "digest": digest})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Whether the image is there."""
        if "connection" not in props:
            return ReadResult(id_, props)
        from remote.image_pull import missing

        return as_read(id_, {**props, "missing": missing(props)}, _INPUTS)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The image stays, 30 GB that the next `up` wants again; a pull that runs is ended."""
        from remote.image_pull import end

        with given_up(_props["connection"]["host"], warn()):
            end(_props)


class ImagePull(Resource, module="trtspark", name="ImagePull"):
    """An image that one node has."""

    def __init__(
        self,
        name: str,
        stack: str,
        image: str,
        connection: Mapping[str, Any],
        missing: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`image` as configured, by tag or by digest; `missing`: whether preflight did not find it there."""
        props = {"stack": stack, "image": image, "connection": dict(connection)}
        lacking = f"{image} is not there" if missing else ""
        super().__init__(ImagePullProvider(), name, {**props, "missing": lacking, "digest": None}, opts)

    @property
    def digest(self) -> pulumi.Output[str]:
        """NAME@sha256:… as the node has it."""
        return output(self, "digest")
