"""The MPI key: a secret of the Swarm that is made again where the Swarm lacks it.

The work is in remote/mpi_key.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, as_read, kept_on_failure, output

_INPUTS = ("name", "stack", "manager", "found")


class MpiKeyProvider(Provider):
    """`name` (of the secret), `stack`, `manager` (a connection), `found` (the public half of the secret that
    the probe saw in the Swarm, "" for none) -> public.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """A Swarm that was left, made anew, or whose secret somebody removed needs a new key; another key
        than the state remembers is taken as it is.
        """
        replaces = [key for key in ("name", "stack") if _olds.get(key) != _news[key]]
        other = not _news["found"] or _news["found"] != _olds.get("public")
        return DiffResult(changes=bool(replaces or other), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make a key, or adopt the one of this name."""
        from remote.mpi_key import make

        with kept_on_failure(props["name"], {**props, "public": ""}):
            public = make(props)
        return CreateResult(id_=props["name"], outs={**props, "public": public})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise."""
        from remote.mpi_key import make

        return UpdateResult(outs={**_news, "public": make(_news)})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The public half that the Swarm has; gone when it has none."""
        if "name" not in props:
            return ReadResult(id_, props)
        from remote.mpi_key import look

        public = look(props)
        if not public:
            return ReadResult("", {})
        return as_read(id_, {**props, "public": public}, _INPUTS, found=public)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the secret."""
        from remote.mpi_key import drop

        drop(_props)


class MpiKey(Resource, module="trtspark", name="MpiKey"):
    """The Docker secret with which rank 0 reaches the workers."""

    public: pulumi.Output[str]

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: name, stack, manager, found."""
        super().__init__(MpiKeyProvider(), name, {**props, "public": None}, opts)
        self.public = output(self, "public")
