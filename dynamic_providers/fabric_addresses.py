"""The fabric's addresses of one node (`fabric: configure`): our netplan file, applied under a guard.

The work is in remote/fabric_addresses.py, imported when there is some.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from ipaddress import IPv4Interface
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from dynamic_providers.base import (
    Provider,
    as_read,
    between,
    changed,
    deleted,
    elsewhere,
    hold,
    kept_on_failure,
    leaves,
    progress,
    undo,
)

_INPUTS = ("stack", "connection", "addresses", "file", "gids", "repair")


class FabricAddressesProvider(Provider):
    """`stack`, `connection`, `addresses` {interface: "a.b.c.d/24"}, `file` (its text), `gids` (the
    interfaces whose address must get a RoCE v2 GID), `repair` (what somebody changed, "" when nothing)
    -> mtu.
    """

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Every address is one, with its prefix, and stands in the file."""
        failures = [
            CheckFailure("addresses", f"{netdev}: {address!r} is no address with a prefix in the file")
            for netdev, address in dict(news.get("addresses") or {}).items()
            if not _stands(address, str(news.get("file") or ""))
        ]
        return CheckResult(news, failures)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """What is there decides; that something was repaired is not worth another change."""
        hold(self, _news["stack"], _news["connection"]["host"])
        olds, news = ({**props, "host": props["connection"]["host"]} for props in (_olds, _news))
        found = changed(olds, news, ("host", "addresses", "file"), replaces=("stack",))
        found.changes = bool(found.changes or _news.get("repair"))
        return found

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write, apply, confirm; what is right already is left alone."""
        from remote.fabric_addresses import apply

        host = str(props["connection"]["host"])
        hold(self, props["stack"], host)
        with kept_on_failure(host, {**props, "file": "", "mtu": 0}):
            outs = apply(props, progress())
        return CreateResult(id_=host, outs=outs)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Likewise; the old file stays until the new one is confirmed. A machine that another one replaces
        loses it first: it may be the same one under another name.
        """
        from remote.fabric_addresses import apply, remove

        moves = bool(elsewhere(_olds, _news))
        with kept_on_failure(_id, {**between(_olds, _news), "file": ""}) if moves else nullcontext():
            undo(leaves(_olds, _news), _olds, partial(remove, say=progress()))
            return UpdateResult(outs=apply(_news, progress()))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Our file's text and the interfaces' addresses as they are; gone when both are."""
        from remote.fabric_addresses import read

        if "addresses" not in props:
            return ReadResult(id_, props)
        found = read(props)
        if not found["file"] and not found["addresses"]:
            return ReadResult("", {})
        return as_read(id_, {**props, **found}, _INPUTS, repair="")

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Our file goes; what the other files say is applied."""
        from remote.fabric_addresses import remove

        undo(deleted(self, _props), _props, partial(remove, say=progress()))


def _stands(address: Any, text: str) -> bool:
    try:
        return "/" in str(address) and str(IPv4Interface(str(address))) in text
    except ValueError:
        return False


class FabricAddresses(Resource, module="trtspark", name="FabricAddresses"):
    """Our netplan file on one node."""

    def __init__(
        self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """`props` as `FabricAddressesProvider` has them."""
        super().__init__(FabricAddressesProvider(), name, {**props, "mtu": None}, opts)
