"""Rank 0's program as a Swarm config: made where the Swarm lacks it, whatever the state remembers.

The work is in remote/rank_program.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, held, hold


class RankProgramProvider(Provider):
    """`name` (it has the content's hash), `stack`, `manager` (a connection), `found` (the config's id in the
    Swarm as the probe saw it, "" for none) -> the same.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Another program has another name. Docker keeps a config that a service uses, so the new one is made
        first. A Swarm that was left or made anew lacks the config that the state remembers.
        """
        hold(self, _news["stack"], _news["name"])
        other = _olds["name"] != _news["name"] or _olds["stack"] != _news["stack"]
        return DiffResult(
            changes=other or not _news["found"],
            replaces=["name"] if other else [],
            delete_before_replace=False,
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the config, or adopt the one of this name: its name is its content."""
        from remote.rank_program import ensure

        hold(self, props["stack"], props["name"])
        ensure(props)
        return CreateResult(id_=props["name"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Make it again where it is gone."""
        from remote.rank_program import ensure

        ensure(_news)
        return UpdateResult(outs=_news)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when the Swarm has no config of this name."""
        if "name" not in props:
            return ReadResult(id_, props)
        from remote.rank_program import exists

        return ReadResult(id_, props, {**props, "found": id_}) if exists(props) else ReadResult("", {})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove it, and services of this stack that still use it and that no resource stands for; unless
        another resource of this run stands for it: after renames to and fro the state may hold two of one
        name, of which one was replaced and is still to be deleted.
        """
        from remote.rank_program import remove

        if not held(self, _props["stack"], _props["name"]):
            remove(_props)


class RankProgram(Resource, module="trtspark", name="RankProgram"):
    """The Swarm config that rank 0's container runs."""

    def __init__(
        self,
        name: str,
        props: Mapping[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`props`: name, stack, manager, found."""
        super().__init__(RankProgramProvider(), name, dict(props), opts)
