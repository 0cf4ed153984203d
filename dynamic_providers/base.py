"""What all providers share: one-line errors, and progress in the resource's own row.

Facts of the SDK: the provider process is `python -m pulumi.dynamic ENGINE_ADDRESS`; classes are pickled
by reference, so module and class names are part of the state and never change; errors reach the user as a
formatted traceback, which `sys.tracebacklimit = 0` turns into its last line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import grpc
import pulumi
from pulumi.dynamic import ConfigureRequest, DiffResult, ResourceProvider
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

#: The engine closes the channel when it ends; a message that cannot be sent is not worth an error.
_LOG_TIMEOUT_S = 2


class Provider(ResourceProvider):
    """Base of our providers: stateless, so that nothing but a reference is ever in the state."""

    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Runs once in the provider's process."""
        sys.tracebacklimit = 0


def changed(
    olds: dict[str, Any], news: dict[str, Any], keys: tuple[str, ...], replaces: tuple[str, ...] = ()
) -> DiffResult:
    """A diff over named keys only; a change of one of `replaces` makes a new resource."""
    different = [key for key in (*keys, *replaces) if olds.get(key) != news.get(key)]
    return DiffResult(
        changes=bool(different),
        replaces=[key for key in replaces if key in different],
        delete_before_replace=True,
    )


def output(resource: pulumi.Resource, key: str) -> pulumi.Output[Any]:
    """An output of a dynamic resource, which the SDK keeps under its camelCase name."""
    found: pulumi.Output[Any] = vars(resource)[key]
    return found


def progress() -> Callable[[str], None]:
    """A function that shows a line of text while an operation runs: live in a terminal, else as text."""
    return _speaker(engine_pb2.INFO, ephemeral=True)


def warn() -> Callable[[str], None]:
    """A function that leaves a warning with the resource, shown among the diagnostics."""
    return _speaker(engine_pb2.WARNING, ephemeral=False)


def _speaker(severity: engine_pb2.LogSeverity.ValueType, ephemeral: bool) -> Callable[[str], None]:
    address, urn = (sys.argv[1] if len(sys.argv) > 1 else ""), _urn()
    if ":" not in address:
        return lambda _text: None
    stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def say(text: str) -> None:
        request = engine_pb2.LogRequest(
            severity=severity, message=text, urn=urn, streamId=0, ephemeral=ephemeral
        )
        try:
            stub.Log(request, timeout=_LOG_TIMEOUT_S)
        except grpc.RpcError:
            return

    return say


def _urn() -> str:
    """The resource's URN, from the SDK's own frame that handles the engine's call.

    The SDK does not hand it to create and update; without it the text stands in the stack's row.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        request = frame.f_locals.get("request")
        if isinstance(getattr(request, "urn", None), str) and request is not None:
            return str(request.urn)
    return ""
