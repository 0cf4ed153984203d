"""What a command reads of the stack: few `pulumi` processes, secrets left out, errors in one sentence."""

from __future__ import annotations

import json
import os

import pytest

from cluster.errors import ConfigError
from trtspark.project import PROJECT, Choice

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:x"}
OUTPUTS = {"endpoint": "http://10.0.0.1:8355", "nodes": ["a"], "key": SECRET, "nested": {"in": [SECRET]}}
STATE = {"deployment": {"resources": [{"type": "pulumi:pulumi:Stack", "outputs": OUTPUTS}]}}
CONFIG = {
    f"{PROJECT}:model": {"value": "openai/gpt-oss-20b", "secret": False},
    f"{PROJECT}:nodes": {"value": '[{"host":"a"}]', "objectValue": [{"host": "a"}], "secret": False},
    f"{PROJECT}:hfToken": {"value": "hf_canary", "secret": True},
}
STUB = """#!/bin/sh
echo "$*" >>"$0.asked"
case "$1 $2" in
  "stack ls") cat "$0.ls" ;;
  "stack export") cat "$0.state" ;;
  "config "*) cat "$0.config" ;;
  *) echo "error: not asked here" >&2; exit 255 ;;
esac
"""


@pytest.fixture
def pulumi(tmp_path, monkeypatch):
    """A `pulumi` that prints what it was given, and keeps what it was asked."""
    stub = tmp_path / "bin" / "pulumi"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name, document in (("ls", [{"name": "dgx", "current": True}]), ("state", STATE), ("config", CONFIG)):
        stub.with_name(f"pulumi.{name}").write_text(json.dumps(document))
    (tmp_path / "Pulumi.yaml").write_text(f"name: {PROJECT}\n")
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return stub


def test_a_whole_look_is_three_processes(pulumi):
    stack = Choice().open()
    assert (stack.name, stack.settings.model) == ("dgx", "openai/gpt-oss-20b")
    assert stack.outputs == {"endpoint": "http://10.0.0.1:8355", "nodes": ["a"]}
    assert (stack.services, stack.endpoint()) == ([], "http://10.0.0.1:8355")
    assert stack.raw("nodes") == [{"host": "a"}]
    assert len(pulumi.with_name("pulumi.asked").read_text().splitlines()) == 3
    assert "hf_canary" not in repr(stack.config)


def test_nothing_deployed_has_no_outputs(pulumi):
    pulumi.with_name("pulumi.state").write_text(json.dumps({"version": 3, "deployment": {}}))
    stack = Choice("dgx").open()
    assert stack.outputs == {}
    with pytest.raises(ConfigError, match="no endpoint yet"):
        stack.endpoint()


def test_no_selected_stack_and_no_pulumi_are_said(pulumi, monkeypatch):
    pulumi.with_name("pulumi.ls").write_text("[]")
    with pytest.raises(ConfigError, match="no stack is selected"):
        Choice().open()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="not on PATH"):
        Choice().open()


@pytest.mark.parametrize(
    "words",
    [
        "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
        "error: could not determine current backend: not logged in",
    ],
)
def test_before_a_login_the_command_for_it_is_named(pulumi, words):
    pulumi.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 255\n")
    with pytest.raises(ConfigError, match="pulumi login --local"):
        Choice().open()
