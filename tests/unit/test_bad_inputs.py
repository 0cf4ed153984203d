"""Every bad input of the table gets one sentence, with the key or host, what was found and what helps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.config import load
from cluster.errors import ConfigError
from cluster.resolution import HubError
from remote import hub
from tests import samples
from tests.unit import bad_inputs_config

PROJECT = "trtllm-dgx-spark"


def ids(rows: Any) -> list[str]:
    return [f"{kind}-{index}" for index, (kind, *_) in enumerate(rows)]


def one_sentence(text: str, parts: tuple[str, ...]) -> None:
    """All `parts` are there, on lines that any terminal can print, and nothing is repeated without end."""
    for part in parts:
        assert part in text
    assert all(c.isprintable() for c in text)
    text.encode()
    assert len(text) < 1500


@pytest.mark.parametrize(("kind", "values", "parts"), bad_inputs_config.ROWS, ids=ids(bad_inputs_config.ROWS))
def test_configuration(kind, values, parts):
    whole = {"nodes": [{"host": "spark-1"}, {"host": "spark-2"}], "model": "openai/gpt-oss-120b", **values}
    raw = {
        f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in whole.items()
        if value is not None
    }
    with pytest.raises(ConfigError) as caught:
        load(raw, PROJECT)
    one_sentence(str(caught.value), parts)
    assert "hf_a" not in str(caught.value).replace("--secret hfToken", "")


@pytest.mark.parametrize(("text", "part"), bad_inputs_config.TOKENS)
@pytest.mark.parametrize("source", ["HF_TOKEN", "hf auth login"])
def test_tokens_of_the_operators_machine(source, text, part, tmp_path, monkeypatch):
    """None is sent, and none is shown."""
    path = tmp_path / "token"
    monkeypatch.setattr(hub.constants, "HF_TOKEN_PATH", str(path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", raising=False)
    if source == "HF_TOKEN":
        monkeypatch.setenv("HF_TOKEN", text)
    else:
        path.write_text(text)
    with pytest.raises(HubError) as caught:
        hub.token(samples.settings(1))
    one_sentence(str(caught.value), (source, part))
    assert "hf_a" not in str(caught.value)
