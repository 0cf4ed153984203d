"""The language host: answers the engine's questions about a program and runs it.

The program itself is run by the vendor's own `pulumi-language-python-exec` (it lies beside the
engine's CLI), in the virtual environment that Pulumi.yaml names, as the vendor's host does.
"""

from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # no stubs here
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from plugins.language.environment import Environment
from plugins.language.program import Program, WarmInterpreter
from plugins.serving import serve

VERSION = "3.259.0"
# The executor ends with this when it has already shown the user what is wrong.
SHOWN_TO_THE_USER = 32


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The LanguageRuntime service for the program in one project."""

    def __init__(self, executor: str, engine: str, warm: WarmInterpreter) -> None:
        """`executor` is the path of pulumi-language-python-exec, `engine` a "host:port"."""
        self._executor = executor
        self._engine = engine
        self._warm = warm

    def Handshake(  # noqa: N802 - names of the protocol
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    def About(  # noqa: N802
        self, request: language_pb2.AboutRequest, context: grpc.ServicerContext
    ) -> language_pb2.AboutResponse:
        environment = Environment.of(request.info)
        return language_pb2.AboutResponse(
            executable=str(environment.python), version=environment.python_version()
        )

    def GetRequiredPackages(  # noqa: N802
        self,
        request: language_pb2.GetRequiredPackagesRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetRequiredPackagesResponse:
        packages = [
            plugin_pb2.PackageDependency(kind="resource", **plugin._asdict())
            for plugin in Environment.of(request.info).required_plugins()
        ]
        return language_pb2.GetRequiredPackagesResponse(packages=packages)

    def GetRequiredPlugins(  # noqa: N802
        self,
        request: language_pb2.GetRequiredPluginsRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetRequiredPluginsResponse:
        plugins = [
            plugin_pb2.PluginDependency(kind="resource", **plugin._asdict())
            for plugin in Environment.of(request.info).required_plugins()
        ]
        return language_pb2.GetRequiredPluginsResponse(plugins=plugins)

    def GetProgramDependencies(  # noqa: N802
        self,
        request: language_pb2.GetProgramDependenciesRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetProgramDependenciesResponse:
        dependencies = [
            language_pb2.DependencyInfo(name=name, version=version)
            for name, version in Environment.of(request.info).distributions()
        ]
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependencies)

    def InstallDependencies(  # noqa: N802
        self,
        request: language_pb2.InstallDependenciesRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        """`pulumi install`: makes the virtual environment and installs requirements.txt."""
        directory = Path(request.directory or request.info.program_directory)
        for argv in Environment.of(request.info).installation(directory):
            with Popen(argv, stdout=PIPE, stderr=STDOUT, cwd=directory) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    yield language_pb2.InstallDependenciesResponse(stdout=line)
            if process.returncode:
                context.abort(
                    grpc.StatusCode.UNKNOWN,
                    f"installing dependencies: {argv[0]} ended with status {process.returncode}",
                )

    def RuntimeOptionsPrompts(  # noqa: N802
        self, request: language_pb2.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    def Run(  # noqa: N802
        self, request: language_pb2.RunRequest, context: grpc.ServicerContext
    ) -> language_pb2.RunResponse:
        environment = Environment.of(request.info)
        if problem := environment.problem():
            return language_pb2.RunResponse(error=problem)
        program = Program.of(request, self._executor, self._engine, environment)
        return exit_response(self._warm.run(environment.python, program))

    def Cancel(  # noqa: N802
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self._warm.end()
        return empty_pb2.Empty()


def exit_response(status: int) -> language_pb2.RunResponse:
    """What the engine is told about a program that ended with `status` (negative: by a signal)."""
    if status == 0:
        return language_pb2.RunResponse()
    if status == SHOWN_TO_THE_USER:
        return language_pb2.RunResponse(bail=True)
    return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {status}")


def serve_host(arguments: list[str], warm: WarmInterpreter) -> None:
    """Serve; `arguments` are the executor's path, then the engine's (its address is the last)."""
    executor, *rest = arguments
    engine = rest[-1] if rest and not rest[-1].startswith("-") else ""
    host = LanguageHost(executor, engine, warm)
    serve(lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server))
