"""A worker's side of MPI: one key that may run one command, in that node's own rank container.

The work is in remote/rank_access.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, given_up, kept_on_failure, warn


class RankAccessProvider(Provider):
    """`stack`, `takeOver`, `connection`, `key` (public), `script` -> nothing more."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another host is another node; how it is reached is not what there should be."""
        olds, news = ({**p, "host": p["connection"]["host"]} for p in (_olds, _news))
        return changed(olds, news, ("host", "key", "script"), replaces=("stack",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Put the line and the command there; safe to repeat."""
        from remote.rank_access import allow

        with kept_on_failure(props["connection"]["host"], {**props, "key": ""}):
            allow(props)
        return CreateResult(id_=props["connection"]["host"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise; a node that is no longer this rank's loses them."""
        from remote.rank_access import allow, revoke

        allow(_news)
        if _olds["connection"]["host"] != _news["connection"]["host"]:
            with given_up(_olds["connection"]["host"], warn()):
                revoke(_olds)
        return UpdateResult(outs=_news)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take both away."""
        from remote.rank_access import revoke

        with given_up(_props["connection"]["host"], warn()):
            revoke(_props)


class RankAccess(Resource, module="trtspark", name="RankAccess"):
    """The forced command on one worker."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: stack, takeOver (a stack whose worker it was, "" for none), connection, key (the public
        half) and script (the command's text, remote/node/rank_exec.sh).
        """
        super().__init__(RankAccessProvider(), name, dict(props), opts)
