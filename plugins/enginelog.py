"""Messages from a plugin to the engine, shown in the resource's row or under Diagnostics."""

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class EngineLog:
    """The engine's log at `address` ("host:port"); connects at the first message."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stub: engine_pb2_grpc.EngineStub | None = None

    def write(
        self,
        message: str,
        urn: str = "",
        severity: "engine_pb2.LogSeverity.ValueType" = engine_pb2.INFO,
        ephemeral: bool = False,
    ) -> None:
        """Show `message`; an ephemeral one is seen while the operation runs and then is gone."""
        if not self._address:
            return
        if self._stub is None:
            self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self._address))
        request = engine_pb2.LogRequest(severity=severity, message=message, urn=urn, ephemeral=ephemeral)
        try:
            self._stub.Log(request)
        except grpc.RpcError:
            return  # An engine that is leaving needs no more messages.
