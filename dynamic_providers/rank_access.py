"""A worker's side of MPI: one key that may run one command, in that node's own rank container.

The work is in remote/rank_access.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import (
    Provider,
    as_read,
    between,
    changed,
    deleted,
    hold,
    kept_on_failure,
    leaves,
    undo,
)

_INPUTS = ("stack", "takeOver", "connection", "key", "sources", "script", "found")


class RankAccessProvider(Provider):
    """`stack`, `takeOver`, `connection`, `key` (public), `sources` (the head's addresses), `script`, `found`
    (what the probe saw there: key and sources, "" for none) -> nothing more; after an update that failed on
    its way to another machine `others`, the logins of those that have something of it, too.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another host is another node; how it is reached is not what there should be. A line or a command
        that somebody removed, a run that was cut off, or a line of an older program is made again.
        """
        hold(self, _news["stack"], _news["connection"]["host"])
        olds, news = ({**p, "host": p["connection"]["host"]} for p in (_olds, _news))
        olds["found"] = _line(news["key"], news["sources"])
        return changed(olds, news, ("host", "key", "sources", "script", "found"), replaces=("stack",))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Put the line and the command there; safe to repeat."""
        from remote.rank_access import allow

        hold(self, props["stack"], props["connection"]["host"])
        with kept_on_failure(props["connection"]["host"], {**props, "key": ""}):
            allow(props)
        return CreateResult(id_=props["connection"]["host"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise; a node that is no longer this rank's loses them first: it may be the same machine under
        another name.
        """
        from remote.rank_access import allow, revoke

        with kept_on_failure(_id, {**between(_olds, _news), "key": ""}):
            undo(leaves(_olds, _news), _olds, revoke)
            allow(_news)
        return UpdateResult(outs=_news)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The key that may log in there and the command that it runs; "" for what is not as it should be."""
        if "connection" not in props:
            return ReadResult(id_, props)
        from remote.rank_access import look

        outs = {"sources": "", **props, **look(props)}
        return as_read(id_, outs, _INPUTS, found=_line(outs["key"], outs["sources"]))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take both away."""
        from remote.rank_access import revoke

        undo(deleted(self, _props), _props, revoke)


def _line(key: str, sources: str) -> str:
    """What the probe reads where our line is in order."""
    return " ".join([*str(key).split()[:2], sources]).rstrip()


class RankAccess(Resource, module="trtspark", name="RankAccess"):
    """The forced command on one worker."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: stack, takeOver (a stack whose worker it was, "" for none), connection, key (the public
        half), sources (addresses, with commas between them), script (the command's text,
        remote/node/rank_exec.sh) and found.
        """
        super().__init__(RankAccessProvider(), name, dict(props), opts)
