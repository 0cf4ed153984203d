"""From MODEL to files, offline."""

from pathlib import Path

import pytest

from lab.engine.tensorrt_llm import hub


@pytest.fixture(autouse=True)
def _offline(monkeypatch, hf_home):
    monkeypatch.setenv("HF_HOME", str(hf_home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_an_id_is_looked_up_by_refs_main():
    folder = hub.resolve("openai/gpt-oss-20b")
    assert folder.parent.parent.name == "models--openai--gpt-oss-20b"
    assert (folder / "config.json").is_file()
    assert hub.served_name("openai/gpt-oss-20b") == "openai/gpt-oss-20b"


def test_a_revision_is_a_commit_or_a_name(snapshot):
    assert hub.resolve("Qwen/Qwen2.5-7B-Instruct", snapshot.name) == snapshot
    assert hub.resolve("Qwen/Qwen2.5-7B-Instruct", "main") == snapshot
    with pytest.raises(hub.LocalEntryNotFoundError):
        hub.resolve("Qwen/Qwen2.5-7B-Instruct", "0" * 40)


def test_a_folder_is_served_under_its_last_name(snapshot):
    assert hub.resolve(str(snapshot)) == snapshot
    assert hub.served_name(str(snapshot)) == snapshot.name
    assert hub.hub_id(str(snapshot), snapshot) == "Qwen/Qwen2.5-7B-Instruct"
    assert hub.hub_id("/models/mine", Path("/models/mine")) == "/models/mine"


def test_what_is_not_there():
    with pytest.raises(hub.LocalEntryNotFoundError, match="outgoing traffic has been disabled"):
        hub.resolve("org/other")
    with pytest.raises(hub.HFValidationError, match="Repo id must be in the form"):
        hub.resolve("/models/none")


def test_without_offline_mode_it_is_a_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(hub.LocalEntryNotFoundError, match="check your internet connection"):
        hub.resolve("org/other")
