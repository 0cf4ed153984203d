"""The model's files on every node: present, whole, and at one revision.

The work is in remote/weights.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from dynamic_providers.base import Provider, changed, progress

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
#: The stack's configuration in the provider's own process: a token is no part of any resource.
_CONFIGURED: dict[str, Any] = {}


class ModelWeightsProvider(Provider):
    """`stack`, `model`, `revision`, `files`, … (see _INPUTS) -> bytes. `missing` says what a node lacks:
    {} is what there shall be.
    """

    def configure(self, req: ConfigureRequest) -> None:
        """Takes the Hub's token from the configuration: a new one changes no resource."""
        super().configure(req)
        _CONFIGURED["token"] = req.config.get("hfToken")
        _CONFIGURED["weights"] = req.config.get("weights")

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Nodes count: a new one needs the files too."""
        olds, news = ({**p, "hosts": _hosts(p)} for p in (_olds, _news))
        return changed(olds, news, _COMPARED, replaces=("stack",) if "stack" in _olds else ())

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Fetch, copy and verify what is not there yet."""
        from remote.weights import ensure

        return CreateResult(id_="weights", outs=ensure(props, _token(), progress()))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """The new model, or what is missing of the old one. The old model's files stay."""
        from remote.weights import ensure

        return UpdateResult(outs=ensure(_news, _token(), progress()))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """What is missing or damaged on each node, by the records; by checksums where verify is full."""
        if "halves" not in props:
            return ReadResult(id_, props)
        from remote.weights import damage

        outs = {**props, "missing": damage(props, progress(), full=_full())}
        return ReadResult(id_, outs, {key: outs[key] for key in _INPUTS})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Weights stay, they are the user's and dear; unless deleteOnDestroy, and then what we fetched."""
        if "halves" not in _props:
            return
        from remote.weights import forget

        forget(_props, bool(_props["deleteOnDestroy"]))


def _token() -> str:
    return str(_CONFIGURED.get("token") or "")


def _full() -> bool:
    """Whether the configuration asks for a full check; structured values come as JSON text or as data."""
    return "full" in str(_CONFIGURED.get("weights") or "")


def _hosts(props: Mapping[str, Any]) -> list[str]:
    return [connection["host"] for connection in props.get("connections", [])]


class ModelWeights(Resource, module="trtspark", name="ModelWeights"):
    """The files of one model at one revision, on every node."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props`: see _INPUTS; `hfCache` as configured (~ is the node's user's home)."""
        super().__init__(ModelWeightsProvider(), name, {**props, "bytes": None}, opts)
