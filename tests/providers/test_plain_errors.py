"""What a person reads when a library or Python raises: one sentence with the machine, and no trace."""

from __future__ import annotations

import importlib
import json
import pkgutil
import socket
import subprocess
import traceback
from typing import Any

import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException

import dynamic_providers
from cluster.errors import TrtSparkError, Unreachable
from dynamic_providers.base import Provider
from dynamic_providers.plain_errors import METHODS
from remote.engine import DockerRefused

HOST = "10.0.0.12"


class Raising(Provider):
    """A provider whose create raises what it is given."""

    def create(self, props: dict[str, Any]) -> Any:
        raise props["error"]

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        json.loads("no JSON")


def raised(error: Exception, key: str = "connection") -> tuple[str, str]:
    """The message, and what Python prints."""
    with pytest.raises(TrtSparkError) as caught:
        Raising().create({"error": error, key: {"host": HOST}})
    return str(caught.value), "".join(traceback.format_exception(caught.value))


def broken() -> requests.ConnectionError:
    """As requests raises it: with a chain."""
    try:
        try:
            socket.create_connection(("127.0.0.1", 1), 1)
        except OSError as error:
            raise urllib3.exceptions.ProtocolError("Connection aborted.", error) from error
    except urllib3.exceptions.ProtocolError as error:
        made = requests.ConnectionError(error)
        made.__cause__ = error
        return made


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (broken(), "the connection broke (ConnectionError"),
        (
            requests.ReadTimeout("HTTPConnectionPool(host='localhost')"),
            "no answer in time (ReadTimeout",
        ),
        (DockerException("Error while fetching server API version"), "the connection broke (DockerException"),
        (subprocess.TimeoutExpired(["ssh", "secret"], 10), "no answer in time (TimeoutExpired"),
        (PermissionError(13, "Permission denied", "/root/x"), "[Errno 13] Permission denied: '/root/x'"),
        (KeyError("trtspark-lab-program"), "unexpected answer: 'trtspark-lab-program' (KeyError"),
        (RuntimeError(), "it failed (RuntimeError"),
    ],
)
@pytest.mark.parametrize("key", ["connection", "manager", "node"])
def test_one_sentence_with_the_machine(error, what, key):
    message, printed = raised(error, key)
    assert message.startswith(f"{HOST}: {what}")
    assert "Run the same again." in message
    assert "test_plain_errors.py:" in message
    assert "During handling" not in printed
    assert "urllib3" not in printed
    assert "secret" not in printed


def test_our_own_errors_stay_as_they_are():
    ours = Unreachable("it", "it is off.", "Switch it on.")
    with pytest.raises(Unreachable) as caught:
        Raising().create({"error": ours, "connection": {"host": HOST}})
    assert caught.value is ours


def test_dockers_refusal_has_its_node_already():
    response = requests.Response()
    response.status_code = 500
    error = DockerRefused("root@10.0.0.1", APIError("500", response, "name conflicts"))
    assert raised(error)[0] == "root@10.0.0.1: Docker refused: name conflicts. Run the same again."


def test_without_a_machine_the_line_says_where_in_the_program():
    with pytest.raises(TrtSparkError, match=r"^unexpected answer: .* \(JSONDecodeError, tests/"):
        Raising().delete("x", {})


def test_every_provider_is_covered():
    for module in pkgutil.iter_modules(dynamic_providers.__path__):
        importlib.import_module(f"dynamic_providers.{module.name}")
    ours = [each for each in Provider.__subclasses__() if each.__module__.startswith("dynamic_providers.")]
    assert len(ours) >= 10
    for provider in ours:
        for name in set(METHODS) & set(vars(provider)):
            assert hasattr(vars(provider)[name], "__wrapped__"), (provider, name)
