"""The Swarm: made or adopted, joined, labelled, and every node's GPU verified as its resource.

The work is in remote/swarm.py and remote/swarm_end.py, imported when there is some: the program that only
declares resources starts without Docker's library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, given_up, kept_on_failure, output, warn


class SwarmProvider(Provider):
    """`stack`, `nodes` [{name, address, gpu, connection}], head first -> swarmId, made, joined,
    nodeIds, bare (the nodes on which Docker made its bridge for this Swarm), strays (logins of machines that
    were left out and could not be reached since).

    `expired`: the nodes whose certificate the look before the plan found run out; `outside`: those that it
    found in no Swarm, or without our labels in this one.
    """

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Connections are how we get there, not what there should be."""
        olds, news = ({**p, "nodes": _identity(p["nodes"])} for p in (_olds, _news))
        different = changed(olds, news, ("nodes",), replaces=("stack",))
        different.changes = bool(different.changes or _news.get("expired") or _news.get("outside"))
        return different

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make or adopt; safe to repeat after any interruption."""
        from remote.swarm import ensure

        # What is made is noted in `outs` while it happens; no node counts as in the Swarm until all are.
        outs = {**props, "nodes": [], "machines": props["nodes"], "swarmId": "", "nodeIds": {}}
        with kept_on_failure("swarm", outs):
            done = ensure(props, outs, _given_up(props))
        return CreateResult(id_=done["swarmId"], outs=done)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Take new nodes in and let go of those that are no longer listed."""
        from remote.swarm import ensure
        from remote.swarm_books import machines
        from remote.swarm_end import let_go

        gone = [n for n in machines(_olds) if n["name"] not in {m["name"] for m in _news["nodes"]}]
        # Likewise: a node that was taken in is known, and one that was not let go is not forgotten.
        known = {"nodes": [], "machines": [*_news["nodes"], *gone]}
        with kept_on_failure(_id, {**_olds, **known}):
            back = let_go(gone, _olds, _news["nodes"][0], _given_up(_olds))
            return UpdateResult(outs=ensure(_news, _olds, _given_up(_news), back))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The nodes that really are in the Swarm with our labels and their GPU offered."""
        if "nodes" not in props:
            return ReadResult(id_, props)
        from remote.swarm import present
        from remote.swarm_books import machines

        known, names = machines(props), present(props)
        found = [node for node in known if node["name"] in names]
        outs = {**props, "nodes": found, "machines": known}
        inputs = {"stack": props["stack"], "takeOver": props.get("takeOver", ""), "nodes": found}
        return ReadResult(id_, outs, {**inputs, "expired": [], "outside": []})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Leave what we joined, end what we made, take our labels off what we adopted."""
        from remote.swarm_end import dissolve

        for note in dissolve(_props, _given_up(_props))["notes"]:
            warn()(note)


def _given_up(props: Mapping[str, Any]) -> Callable[[str], AbstractContextManager[Callable[[object], None]]]:
    from cluster.leftovers import by_hand

    return lambda host: given_up(host, warn(), by_hand(props["stack"]))


def _identity(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: node[key] for key in ("name", "address", "gpu")} for node in nodes]


class Swarm(Resource, module="trtspark", name="Swarm"):
    """The Swarm of the stack's nodes."""

    swarm_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        stack: str,
        nodes: Sequence[Mapping[str, Any]],
        expired: Sequence[str] = (),
        outside: Sequence[str] = (),
        take_over: str = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`nodes` are plain data, head first: name, address, gpu (UUID), connection; `expired` and `outside`
        are names; `take_over` is a stack whose machines these were, "" for none.
        """
        looks = {"expired": list(expired), "outside": list(outside)}
        props = {"stack": stack, "nodes": list(nodes), "takeOver": take_over, **looks}
        outs = {"swarmId": None, "made": None, "joined": None, "nodeIds": None, "bare": None, "strays": None}
        super().__init__(SwarmProvider(), name, {**props, **outs}, opts)
        self.swarm_id = output(self, "swarmId")
