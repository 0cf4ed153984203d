"""The `command` provider."""

from pulumi.runtime.proto import provider_pb2_grpc

from plugins.command.remote_command import RemoteCommand
from plugins.provider import Provider
from plugins.serving import serve

VERSION = "1.2.1"


class CommandProvider(Provider):
    """The `command` provider with its one type."""

    def __init__(self, engine: str) -> None:
        super().__init__("command", VERSION, engine, {"command:remote:Command": RemoteCommand()})

    def end_children(self) -> None:
        from plugins.ssh.session import end_running

        end_running()


def main(arguments: list[str]) -> None:
    """Serve; the engine's address is the last argument."""
    provider = CommandProvider(arguments[-1] if arguments else "")
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))
