"""The model's files on every node: present, whole, and at one revision.

The work is in remote/weights.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, as_read, changed, given_up, kept_on_failure, left, progress, warn

_COMPARED = ("model", "revision", "hfCache", "hosts", "files", "extras", "missing", "deleteOnDestroy")
#: How it is done, not what there shall be: a change of these alone is no reason for an update.
_INPUTS = (
    "stack",
    "model",
    "revision",
    "hfCache",
    "connections",
    "endpoint",
    "files",
    "extras",
    "fetch",
    "halves",
    "streams",
    "tiktokenFolder",
    "deleteOnDestroy",
    "missing",
)
#: The stack's configuration in the provider's own process: a token is no part of any resource, wherever it
#: comes from.
_CONFIGURED: dict[str, Any] = {}


class ModelWeightsProvider(Provider):
    """`stack`, `model`, `revision`, `files`, … (see _INPUTS) -> bytes, aside. `missing` says what a node
    lacks: {} is what there shall be. `aside`: connections of nodes that headOnly leaves out and that still
    have our records.
    """

    def configure(self, req: ConfigureRequest) -> None:
        """Takes the Hub's token from the configuration: a new one changes no resource."""
        super().configure(req)
        _CONFIGURED["token"] = req.config.get("hfToken")
        _CONFIGURED["weights"] = req.config.get("weights")

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Nodes count: a new one needs the files too, and one that left has our records."""
        olds, news = ({**p, "hosts": _hosts(p)} for p in (_olds, _news))
        olds["left"], news["left"] = bool(_others(_olds, _news, gone=True)), False
        return changed(olds, news, (*_COMPARED, "left"), replaces=("stack",) if "stack" in _olds else ())

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Fetch, copy and verify what is not there yet."""
        from remote.weights import ensure

        with kept_on_failure("weights", {**props, "files": [], "bytes": 0, "aside": []}):
            outs = ensure(props, _token(), progress())
        return CreateResult(id_="weights", outs={**outs, "aside": []})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """The new model, or what is missing of the old one. The old model's files stay; a node that left the
        configuration keeps them too (unless deleteOnDestroy), without our records.
        """
        from remote.weights import ensure

        # A machine that an update which failed was about to fill has our records as well.
        new = [one for one in _news["connections"] if one["host"] not in {had["host"] for had in _had(_olds)}]
        aside = [*(_olds.get("aside") or []), *new]
        with kept_on_failure(_id, {**_olds, "aside": aside}) if new else nullcontext():
            outs = ensure(_news, _token(), progress())
        _forget(_olds, _others(_olds, _news, gone=True), bool(_news["deleteOnDestroy"]))
        return UpdateResult(outs={**outs, "aside": _others(_olds, _news, gone=False)})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """What is missing or damaged on each node, by the records; by checksums where verify is full."""
        if "halves" not in props:
            return ReadResult(id_, props)
        from remote.weights import damage

        return as_read(id_, {**props, "missing": damage(props, progress(), full=_full())}, _INPUTS)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Weights stay, they are the user's and dear; unless deleteOnDestroy, and then what we fetched."""
        _forget(_props, _had(_props), bool(_props.get("deleteOnDestroy")))


def _token() -> str:
    """The token that the preview asked with, found by the same rule: the node gets no other."""
    from remote import hub_token

    return hub_token.find(_CONFIGURED.get("token")).value or ""


def _full() -> bool:
    """Whether the configuration asks for a full check; structured values come as JSON text or as data."""
    return "full" in str(_CONFIGURED.get("weights") or "")


def _hosts(props: Mapping[str, Any]) -> list[str]:
    return [connection["host"] for connection in props.get("connections", [])]


def _had(props: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Connections of all nodes with our records."""
    return [*props.get("connections", []), *(props.get("aside") or [])]


def _others(olds: Mapping[str, Any], news: Mapping[str, Any], gone: bool) -> list[Mapping[str, Any]]:
    """Of the nodes with our records, those that do not serve now: `gone` from the configuration, or aside."""
    serving = _hosts(news)
    return [one for one in _had(olds) if one["host"] not in serving and left(one["host"]) is gone]


def _forget(props: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], delete: bool) -> None:
    """Take our records from these nodes, as far as they can be reached or are listed no longer."""
    if "halves" not in props or not nodes:
        return
    from concurrent.futures import ThreadPoolExecutor

    from remote.weights import forget

    say = warn()

    def one(connection: Mapping[str, Any]) -> None:
        with given_up(connection["host"], say) as tell:
            tell(forget({**props, "connections": [connection]}, delete))

    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(one, nodes))


class ModelWeights(Resource, module="trtspark", name="ModelWeights"):
    """The files of one model at one revision, on every node."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: see _INPUTS; `hfCache` as configured (~ is the node's user's home)."""
        super().__init__(ModelWeightsProvider(), name, {**props, "bytes": None, "aside": None}, opts)
