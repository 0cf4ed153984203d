"""The `docker` provider."""

import os
import threading
from typing import TYPE_CHECKING

from pulumi.runtime.proto import provider_pb2_grpc

from plugins.diff import changes
from plugins.docker.limits import Limited
from plugins.docker.remote_image import RemoteImage
from plugins.docker.swarm_object import SwarmObject
from plugins.provider import Difference, Failure, OperationError, Provider, Resource
from plugins.serving import serve
from plugins.wire import (
    UNKNOWN,
    Properties,
    Secret,
    Value,
    contains_secret,
    contains_unknown,
    from_json,
    go_json,
    revealed,
)

if TYPE_CHECKING:
    from plugins.docker.api import Engine
    from plugins.docker.registry_auth import Credentials

VERSION = "5.2.0"
CONFIG_PROPERTIES = frozenset(
    {
        "caMaterial",
        "certMaterial",
        "certPath",
        "context",
        "disableDockerDaemonCheck",
        "host",
        "keyMaterial",
        "registryAuth",
        "sshOpts",
    }
)
UNSUPPORTED_CONFIG = ("caMaterial", "certMaterial", "certPath", "context", "keyMaterial")
# Its passwords are secret in the vendor's schema, and a secret inside makes the whole text one.
SECRET_CONFIG = "registryAuth"
JSON_CONFIG = ("disableDockerDaemonCheck", "registryAuth", "sshOpts")
# How the vendor's plugin, made from a Terraform provider, prints an error.
ERROR_FRAME = "1 error occurred:\n\t* {}\n\n"
DEFAULT_HOST = "unix:///var/run/docker.sock"


class DockerProvider(Provider):
    """The `docker` provider with three of its types, for one Docker host."""

    def __init__(self, engine: str) -> None:
        resources: dict[str, Resource] = {
            "docker:index/remoteImage:RemoteImage": RemoteImage(self._docker, self._auths),
            "docker:index/serviceConfig:ServiceConfig": SwarmObject(
                self._docker, "/configs", ("data", "dataRaw"), secret=False
            ),
            "docker:index/secret:Secret": SwarmObject(self._docker, "/secrets", ("data",), secret=True),
        }
        limited = {type_: Limited(resource, self._docker) for type_, resource in resources.items()}
        super().__init__("docker", VERSION, engine, limited, error_frame=ERROR_FRAME)
        self._config: Properties = {}
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def check_config(self, config: Properties) -> list[Failure]:
        return [
            Failure(name, "only the vendor's docker plugin knows this, not the stand-in")
            for name in UNSUPPORTED_CONFIG
            if config.get(name)
        ]

    def config_inputs(self, config: Properties) -> Properties:
        """As pulumi-terraform-bridge 3.137 does (config_encoding.go): JSON as Go's encoder writes it."""
        return {name: _in_state(name, value) for name, value in config.items()}

    def diff_config(self, old: Properties, new: Properties) -> Difference:
        return Difference(changes(old, new))

    def configured(self, config: Properties) -> None:
        """Nothing is contacted yet: in a preview the machine may not even exist."""
        self._config = {name: _plain(name, value) for name, value in config.items()}

    def end_children(self) -> None:
        if self._engine is not None:
            from plugins.docker.connection import end_dialed

            end_dialed()

    def _docker(self) -> "Engine":
        """The Engine, one for all operations, so that its connections are used again."""
        # Imported here: an `up` without changes talks to no Engine and need not pay for it.
        from plugins.docker.api import Engine

        with self._lock:
            if self._engine is None:
                host = self._config.get("host") or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
                options = self._config.get("sshOpts")
                if options is None:
                    options = os.environ.get("DOCKER_SSH_OPTS", "").split()
                if host is UNKNOWN or options is UNKNOWN:
                    raise OperationError("the Docker host is not known yet")
                self._engine = Engine(host, options)
            return self._engine

    def _auths(self) -> "dict[str, Credentials]":
        from plugins.docker.registry_auth import credentials

        return credentials(self._config.get("registryAuth") or [])


def _plain(name: str, value: Value) -> Value:
    """A setting in clear; those that are no strings come as JSON text."""
    plain = revealed(value)
    if name in JSON_CONFIG and isinstance(plain, str):
        return revealed(from_json(plain))
    return plain


def _in_state(name: str, value: Value) -> Value:
    """A setting as state keeps it: what is no string becomes compact JSON text."""
    plain = _plain(name, value)
    if name not in JSON_CONFIG or plain is None:
        return value
    if contains_unknown(plain):
        return UNKNOWN
    text = go_json(plain)
    return Secret(text) if contains_secret(value) or name == SECRET_CONFIG else text


def main(arguments: list[str]) -> None:
    """Serve; the engine's address is the last argument."""
    provider = DockerProvider(arguments[-1] if arguments else "")
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))
