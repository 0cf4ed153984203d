"""What the stand-ins keep in state, literally as the vendor's plugins do.

Sources: pulumi-terraform-bridge 3.137 (pkg/tfbridge/config_encoding.go, provider.go: CheckConfig) for
pulumi-docker; pulumi-go-provider 1.5 (infer/internal/ende/ende.go, infer/resource.go: Check, diff) for
pulumi-command 1.2.1. A state made by one is then the other's without a pending update.
"""

from __future__ import annotations

import json

from google.protobuf import json_format
from pulumi.runtime.proto import provider_pb2

from plugins.command.provider import CommandProvider
from plugins.command.remote_command import RemoteCommand
from plugins.docker.provider import DockerProvider
from plugins.wire import SECRET_SIGNATURE, SIGNATURE, UNKNOWN, Secret, properties, struct

URN = "urn:pulumi:lab::trial::"
OPTIONS = ["-o", "StrictHostKeyChecking=yes", "-o", "KnownHostsCommand=/bin/echo %H <a&b>"]


def secret(value: object) -> dict[str, object]:
    return {SIGNATURE: SECRET_SIGNATURE, "value": value}


def configured(**config: object) -> dict[str, object]:
    """The docker provider's inputs as the engine writes them into state."""
    request = provider_pb2.CheckRequest(urn=f"{URN}pulumi:providers:docker::d", news=struct(config))
    answer = DockerProvider("").CheckConfig(request, None)  # type: ignore[arg-type]
    assert not answer.failures
    return json_format.MessageToDict(answer.inputs)


def test_options_of_ssh_are_compact_json_with_gos_escapes():
    # The Python SDK sends json.dumps(OPTIONS), with blanks.
    state = configured(host="ssh://nvidia@10.0.0.2", sshOpts=json.dumps(OPTIONS), version="5.2.0")
    assert state == {
        "host": "ssh://nvidia@10.0.0.2",
        "sshOpts": '["-o","StrictHostKeyChecking=yes","-o",'
        r'"KnownHostsCommand=/bin/echo %H \u003ca\u0026b\u003e"]',
        "version": "5.2.0",
    }


def test_other_settings_of_docker():
    assert configured(disableDockerDaemonCheck="true") == {"disableDockerDaemonCheck": "true"}
    auth = '[{"username": "me", "password": "canary", "address": "nvcr.io"}]'
    compact = '[{"address":"nvcr.io","password":"canary","username":"me"}]'
    assert configured(registryAuth=auth) == {"registryAuth": secret(compact)}
    assert configured(sshOpts=UNKNOWN) == json_format.MessageToDict(struct({"sshOpts": UNKNOWN}))


def test_the_same_options_are_no_change_and_are_understood():
    provider = DockerProvider("")
    config = {"host": "ssh://a@b", "sshOpts": json.dumps(OPTIONS)}
    state = provider.config_inputs(config)
    assert provider.config_inputs(state) == state
    provider.configured(state)
    assert provider._docker()._ssh_opts == OPTIONS


def test_a_private_key_stays_secret_inside_the_secret_connection():
    news = {
        "connection": Secret({"host": "10.0.0.2", "privateKey": Secret("canary"), "hostKey": "t k"}),
        "create": "true",
    }
    request = provider_pb2.CheckRequest(urn=f"{URN}command:remote:Command::probe", news=struct(news))
    answer = CommandProvider("").Check(request, None)  # type: ignore[arg-type]
    assert json_format.MessageToDict(answer.inputs) == {
        "connection": secret(
            {
                "host": "10.0.0.2",
                "hostKey": "t k",
                "privateKey": secret("canary"),
                "user": "root",
                "port": 22.0,
                "dialErrorLimit": 10.0,
                "perDialTimeout": 15.0,
            }
        ),
        "create": "true",
    }
    inputs = properties(answer.inputs)
    _, state = RemoteCommand().create(_preview(), inputs)
    assert state["connection"] == inputs["connection"]


def test_a_connection_without_the_inner_secret_is_a_change_of_the_whole():
    flat = {"connection": Secret({"host": "a", "privateKey": "canary"})}
    nested = {"connection": Secret({"host": "a", "privateKey": Secret("canary")})}
    assert RemoteCommand().diff(nested, nested, nested).changes == {}
    assert RemoteCommand().diff(flat, flat, nested).changes == {"connection": "UPDATE"}


def _preview():
    from plugins.enginelog import EngineLog
    from plugins.provider import Call

    return Call(f"{URN}command:remote:Command::probe", EngineLog(""), preview=True)
