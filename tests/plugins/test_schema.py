"""Every property that the stand-ins know is one of the SDK's, and the other way round."""

import json
from importlib import resources

import pulumi_command as command
import pulumi_docker as docker
import pytest
from pulumi._types import input_type_py_to_pulumi_names, resource_types

from plugins.command import provider as command_provider
from plugins.command import remote_command
from plugins.docker import build, registry_auth, remote_image
from plugins.docker import provider as docker_provider

OWN = {"id", "urn"}


def inputs_of(type_) -> set[str]:
    return set(input_type_py_to_pulumi_names(type_).values())


def outputs_of(type_) -> set[str]:
    """Names of a resource's properties on the wire."""
    getters = {
        getattr(value.fget, "_pulumi_name", name)
        for name, value in vars(type_).items()
        if isinstance(value, property)
    }
    return getters - OWN


@pytest.mark.parametrize(
    ("sdk", "ours"),
    [
        (command.remote.CommandArgs, remote_command.INPUT_PROPERTIES),
        (command.remote.ConnectionArgs, remote_command.CONNECTION_PROPERTIES),
        (command.remote.ProxyConnectionArgs, remote_command.HOP_PROPERTIES),
        (docker.RemoteImageArgs, remote_image.INPUT_PROPERTIES),
        (docker.ServiceConfigArgs, {"data", "dataRaw", "labels", "name"}),
        (docker.SecretArgs, {"data", "labels", "name"}),
        (docker.ServiceConfigLabelArgs, {"label", "value"}),
        (docker.ProviderArgs, docker_provider.CONFIG_PROPERTIES),
        (docker.ProviderRegistryAuthArgs, registry_auth.AUTH_PROPERTIES),
    ],
)
def test_inputs(sdk, ours):
    assert inputs_of(sdk) == set(ours)


@pytest.mark.parametrize(
    ("sdk", "ours"),
    [
        (
            command.remote.Command,
            {*remote_command.INPUT_PROPERTIES, *remote_command.OUTPUT_PROPERTIES},
        ),
        (
            docker.RemoteImage,
            remote_image.INPUT_PROPERTIES | remote_image.OUTPUT_PROPERTIES,
        ),
        (docker.ServiceConfig, {"data", "dataRaw", "labels", "name"}),
        (docker.Secret, {"data", "labels", "name"}),
    ],
)
def test_outputs(sdk, ours):
    assert {camel(name) for name in resource_types(sdk)} == set(ours)


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.title() for word in tail)


def test_build_settings_are_the_sdks():
    known = inputs_of(docker.RemoteImageBuildArgs)
    assert known >= build.SUPPORTED


@pytest.mark.parametrize("provider", [command_provider, docker_provider])
def test_versions_are_the_sdks(provider):
    name = provider.__name__.split(".")[1]
    note = resources.files(f"pulumi_{name}").joinpath("pulumi-plugin.json").read_text()
    assert json.loads(note)["version"] == provider.VERSION
