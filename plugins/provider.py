"""The ResourceProvider service, over resources that take and return plain properties."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # no stubs here
from pulumi.runtime.proto import engine_pb2, plugin_pb2, provider_pb2, provider_pb2_grpc

from plugins.diff import Kind, top_level
from plugins.enginelog import EngineLog
from plugins.serving import end_at_once
from plugins.wire import Properties, properties, struct

Result = TypeVar("Result")
# After answering Cancel: long enough for the answer to leave, far below the engine's patience.
LEAVE_AFTER_SECONDS = 0.05


class OperationError(Exception):
    """An operation failed; the message is what the user reads."""


@dataclass(frozen=True)
class Difference:
    """Changed paths, and which of them need a new resource."""

    changes: Mapping[str, Kind]
    replaces: frozenset[str] = frozenset()
    delete_before_replace: bool = False


@dataclass(frozen=True)
class Failure:
    """An input that is not acceptable."""

    property: str
    reason: str


@dataclass(frozen=True)
class Call:
    """One operation on one resource: its names, and a way to show progress."""

    urn: str
    engine_log: EngineLog
    preview: bool = False
    #: Seconds that the program's customTimeouts allow; 0: it says nothing, and the plugin's default counts.
    timeout: float = 0.0

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rpartition("::")[2]

    def status(self, message: str) -> None:
        """Show `message` in the resource's row while the operation runs."""
        self.engine_log.write(message, self.urn, ephemeral=True)

    def warning(self, message: str) -> None:
        """Show `message` under Diagnostics."""
        self.engine_log.write(message, self.urn, engine_pb2.WARNING)

    def error(self, message: str) -> None:
        """Show `message` under Diagnostics, as an error."""
        self.engine_log.write(message, self.urn, engine_pb2.ERROR)


class Resource(Protocol):
    """One resource type."""

    def check(self, name: str, olds: Properties, news: Properties) -> tuple[Properties, list[Failure]]:
        """`news` with defaults, and what is wrong with them."""

    def diff(self, old_inputs: Properties, state: Properties, news: Properties) -> Difference:
        """What changed."""

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make it (not in a preview); return id and state."""

    def read(
        self, call: Call, id_: str, inputs: Properties, state: Properties
    ) -> tuple[str, Properties, Properties] | None:
        """Id, inputs and state as they are now; None when it is gone."""

    def update(
        self, call: Call, id_: str, old_inputs: Properties, state: Properties, inputs: Properties
    ) -> Properties:
        """Change it (not in a preview); return its state."""

    def delete(self, call: Call, id_: str, state: Properties) -> None:
        """Remove it."""


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """A provider of `resources` (by type token), named and versioned as the one it stands for."""

    def __init__(
        self,
        name: str,
        version: str,
        engine: str,
        resources: Mapping[str, Resource],
        error_frame: str = "{}",
    ) -> None:
        self._name = name
        self._error_frame = error_frame
        self._version = version
        self._log = EngineLog(engine)
        self._resources = resources

    def configured(self, config: Properties) -> None:
        """Called once with the provider's own configuration, before any resource."""

    def check_config(self, config: Properties) -> list[Failure]:
        """What is wrong with the provider's configuration."""
        return []

    def config_inputs(self, config: Properties) -> Properties:
        """Return the provider's configuration in the form that state keeps."""
        return config

    def diff_config(self, old: Properties, new: Properties) -> Difference:
        """What a change of the provider's configuration means for it."""
        return Difference({})

    def end_children(self) -> None:
        """End processes that operations have started."""

    def Handshake(  # noqa: N802 - names of the protocol
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        self._log = EngineLog(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(  # noqa: N802
        self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self._log = EngineLog(request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def CheckConfig(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        config = properties(request.news)
        failures = self.check_config(config)
        inputs = struct(self.config_inputs(config))
        return provider_pb2.CheckResponse(inputs=inputs, failures=_messages(failures))

    def DiffConfig(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        old = properties(request.old_inputs if request.old_inputs.fields else request.olds)
        return _diff_message(self.diff_config(old, properties(request.news)))

    def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        self._log.write(
            f"{self._name}: the project's stand-in for the vendor's plugin {self._version}",
            severity=engine_pb2.DEBUG,
        )
        self._guarded(context, lambda: self.configured(properties(request.args)))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        resource = self._resource(request.urn, context)
        name = Call(request.urn, self._log).name
        inputs, failures = resource.check(name, properties(request.olds), properties(request.news))
        return provider_pb2.CheckResponse(inputs=struct(inputs), failures=_messages(failures))

    def Diff(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        news, olds = properties(request.news), properties(request.old_inputs)
        for ignored in request.ignoreChanges:
            if ignored in olds:
                news[ignored] = olds[ignored]
        resource = self._resource(request.urn, context)
        return _diff_message(resource.diff(olds, properties(request.olds), news))

    def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        call = Call(request.urn, self._log, request.preview, request.timeout)
        resource = self._resource(request.urn, context)
        id_, state = self._guarded(context, lambda: resource.create(call, properties(request.properties)))
        return provider_pb2.CreateResponse(id=id_, properties=struct(state))

    def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        call = Call(request.urn, self._log)
        resource = self._resource(request.urn, context)
        inputs, state = properties(request.inputs), properties(request.properties)
        found = self._guarded(context, lambda: resource.read(call, request.id, inputs, state))
        if found is None:
            return provider_pb2.ReadResponse()
        id_, inputs, state = found
        return provider_pb2.ReadResponse(id=id_, inputs=struct(inputs), properties=struct(state))

    def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        call = Call(request.urn, self._log, request.preview, request.timeout)
        resource = self._resource(request.urn, context)
        old_inputs, olds = properties(request.old_inputs), properties(request.olds)
        news = properties(request.news)
        state = self._guarded(context, lambda: resource.update(call, request.id, old_inputs, olds, news))
        return provider_pb2.UpdateResponse(properties=struct(state))

    def Delete(  # noqa: N802
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        call = Call(request.urn, self._log, timeout=request.timeout)
        resource = self._resource(request.urn, context)
        self._guarded(context, lambda: resource.delete(call, request.id, properties(request.properties)))
        return empty_pb2.Empty()

    def Cancel(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self.end_children()
        threading.Timer(LEAVE_AFTER_SECONDS, end_at_once).start()
        return empty_pb2.Empty()

    def _guarded(self, context: grpc.ServicerContext, operation: Callable[[], Result]) -> Result:
        """The operation's result; its error goes to the engine as the text the user reads."""
        try:
            return operation()
        except OperationError as error:
            context.abort(grpc.StatusCode.UNKNOWN, self._error_frame.format(error))
            raise  # not reached: abort raises

    def _resource(self, urn: str, context: grpc.ServicerContext) -> Resource:
        type_ = urn.split("::")[2].rpartition("$")[2]
        if type_ not in self._resources:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{type_}: the project's stand-in for the {self._name} plugin has only "
                f"{', '.join(sorted(self._resources))}; use the vendor's plugin for this type",
            )
        return self._resources[type_]


def _messages(failures: list[Failure]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=f.property, reason=f.reason) for f in failures]


def _diff_message(difference: Difference) -> provider_pb2.DiffResponse:
    kinds: Any = provider_pb2.PropertyDiff.Kind
    detailed = {
        path: provider_pb2.PropertyDiff(
            kind=kinds.Value(f"{kind}_REPLACE" if path in difference.replaces else kind),
            inputDiff=True,
        )
        for path, kind in difference.changes.items()
    }
    some = bool(detailed)
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if some else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({top_level(path) for path in detailed}),
        replaces=sorted({top_level(path) for path in difference.replaces}),
        detailedDiff=detailed,
        hasDetailedDiff=True,
        deleteBeforeReplace=difference.delete_before_replace,
    )
