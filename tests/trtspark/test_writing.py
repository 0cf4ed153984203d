"""A stack's configuration written by the real Pulumi: types stay, other keys stay, secrets are encrypted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from cluster.errors import ConfigError
from trtspark import writing
from trtspark.project import Stack, exists

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxh"
NODES = [{"host": "10.0.0.1", "user": "n7", "hostKey": KEY, "fabric": ["192.168.100.11"]}]

pytestmark = pytest.mark.skipif(shutil.which("pulumi") is None, reason="needs Pulumi's engine")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "state").mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    return tmp_path


def config(folder):
    found = yaml.safe_load((folder / "Pulumi.dgx.yaml").read_text())["config"]
    return {key.partition(":")[2]: value for key, value in found.items()}


def test_made_written_and_changed(folder, capfd):
    assert not exists(folder, "dgx")
    writing.create(folder, "dgx", interactive=False)
    assert exists(folder, "dgx")
    stack = Stack(folder, "dgx")
    writing.write(stack, {"nodes": NODES, "model": "a/b", "dockerGroup": True, "revision": "v1"})
    assert config(folder)["nodes"] == NODES
    assert stack.raw("nodes") == NODES
    assert stack.raw("dockerGroup") is True
    assert stack.settings.model == "a/b"

    writing.write(stack, {"model": "a/c", "revision": None})
    assert stack.settings.model == "a/c"
    assert "revision" not in config(folder)
    assert config(folder)["nodes"] == NODES

    writing.secret(folder, "dgx", writing.SECRET, "hf_very_secret")
    assert "hf_very_secret" not in (folder / "Pulumi.dgx.yaml").read_text()
    stack.forget()
    assert stack.settings.hf_token.get_secret_value() == "hf_very_secret"
    assert "hf_very_secret" not in "".join(capfd.readouterr())


def test_what_pulumi_refuses_is_told(folder, monkeypatch):
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    with pytest.raises(ConfigError, match="did not make stack dgx"):
        writing.create(folder, "dgx", interactive=False)
