"""`trtspark open` and what all commands share."""

from __future__ import annotations

from typing import ClassVar

import pytest
from typer.testing import CliRunner

from tests import samples
from trtspark.cli import app
from trtspark.commands import open as open_command
from trtspark.project import Choice

URL = "http://10.24.11.11:8355"


class FakeStack:
    """A stack that is deployed, without Pulumi."""

    settings = samples.settings(2)
    connections = samples.connections(2)
    outputs: ClassVar = {"model": "openai/gpt-oss-20b"}

    def endpoint(self) -> str:
        return URL


@pytest.fixture
def stack(monkeypatch):
    one = FakeStack()
    monkeypatch.setattr(Choice, "open", lambda _self: one)
    return one


def test_settings_name_the_endpoint_and_the_model_for_every_client(stack):
    done = CliRunner().invoke(app, ["open"])
    assert done.exit_code == 0
    for client in ("curl", "openai", "LangChain", "Open WebUI", "VS Code"):
        assert client in done.stdout
    assert f"{URL}/v1" in done.stdout
    assert "openai/gpt-oss-20b" in done.stdout  # what is deployed, whatever the configuration says


def test_the_tunnel_checks_the_host_key_and_listens_on_loopback_only(stack):
    words = open_command.forward_words(stack.connections[0], 8000, URL)
    assert "127.0.0.1:8000:10.24.11.11:8355" in words
    assert f"KnownHostsCommand=/bin/echo %H {samples.HOST_KEY}" in words
    assert "ControlPath=none" in words


def test_a_folder_that_is_no_project_is_named(tmp_path):
    done = CliRunner().invoke(app, ["--project", str(tmp_path), "open"])
    assert done.exit_code == 1
    assert f"{tmp_path} is no trtllm-dgx-spark project" in str(done.exception)
