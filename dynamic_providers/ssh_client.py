"""The head's own ssh client, brought along for serving images that have none.

The work is in remote/ssh_client.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import (
    Provider,
    as_read,
    between,
    changed,
    elsewhere,
    kept_on_failure,
    machines,
    undo,
)

_INPUTS = ("folder", "connection", "client")


class SshClientProvider(Provider):
    """`folder` (below the login's home), `connection`, `client` ("current") -> the same."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another folder is another client; one that refresh found missing or older is brought anew."""
        olds, news = ({**props, "host": props["connection"]["host"]} for props in (_olds, _news))
        return changed(olds, news, ("host", "client"), replaces=("folder",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Copy it; safe to repeat after any interruption."""
        from remote.ssh_client import run

        with kept_on_failure(props["folder"], {**props, "client": ""}):
            client = run(props, "bring")
        return CreateResult(id_=props["folder"], outs={**props, "client": client})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise; a machine that is the head no longer loses it first: it may be the same one under another
        name.
        """
        from remote.ssh_client import run

        with kept_on_failure(_id, {**between(_olds, _news), "client": ""}):
            undo(elsewhere(_olds, _news), _olds, partial(run, action="drop"))
            return UpdateResult(outs={**_news, "client": run(_news, "bring")})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Whether it is there, and the same as the system's now."""
        if "folder" not in props:
            return ReadResult(id_, props)
        from remote.ssh_client import run

        return as_read(id_, {**props, "client": run(props, "look")}, _INPUTS)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the folder."""
        from remote.ssh_client import run

        undo(machines(_props), _props, partial(run, action="drop"))


class SshClient(Resource, module="trtspark", name="SshClient"):
    """The folder that rank 0's container mounts."""

    def __init__(
        self,
        name: str,
        folder: str,
        connection: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`folder` below the home folder of the head's login."""
        props = {"folder": folder, "connection": dict(connection), "client": "current"}
        super().__init__(SshClientProvider(), name, props, opts)
