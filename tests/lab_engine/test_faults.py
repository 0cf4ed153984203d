"""Completions that fail while the server is well, and a tokenizer that cannot be loaded offline."""

import pytest

from lab.engine.tensorrt_llm import checkpoint, hub
from lab.engine.tensorrt_llm.serve import errors, health
from lab.engine.tensorrt_llm.serve.faults import Faults
from lab.engine.tensorrt_llm.serve.launch import _has_tokenizer
from lab.engine.tensorrt_llm.version import transformers

from .test_generation import IdleEngine

LARGE, SMALL = {"vocab_size": 152_064}, {"vocab_size": 32_000}
QWEN = "Qwen/Qwen2.5-7B-Instruct"


def test_the_first_completion_is_answered_and_no_other(tmp_path):
    faults = Faults("illegal_instruction", switch=tmp_path / "none")
    faults.check()
    for _ in range(2):
        with pytest.raises(errors.Refused, match="an illegal instruction was encountered") as caught:
            faults.check()
        assert errors.document(caught.value)["code"] == 400


def test_500_from_the_start(tmp_path):
    with pytest.raises(errors.Refused, match="cutlass FP4 gemm") as caught:
        Faults("completions_500", switch=tmp_path / "none").check()
    assert caught.value.code == 500


def test_a_fault_that_begins_while_it_serves_and_ends(tmp_path, capsys):
    switch = tmp_path / "fault"
    faults = Faults(switch=switch)
    for _ in range(3):
        faults.check()
    switch.write_text("illegal_instruction\n")
    with pytest.raises(errors.Refused):
        faults.check()
    switch.unlink()
    faults.check()


@pytest.mark.parametrize("name", ["lab/illegal-instruction", "lab/completions-500"])
def test_the_models_with_these_faults_load(hf_home, tmp_path, name):
    folder = next((hf_home / f"hub/models--{name.replace('/', '--')}/snapshots").iterdir())
    assert checkpoint.load_weights(folder)[0] == 2
    faults = Faults(checkpoint.behaviour(folder).fail, switch=tmp_path / "none")
    faults.served = 1
    with pytest.raises(errors.Refused):
        faults.check()


@pytest.mark.parametrize(
    ("version", "broken", "shut_down", "well"),
    [
        ("1.3.0rc1", "Hang detected", True, True),
        ("1.3.0rc3", "Hang detected", False, True),
        ("1.3.0rc3", "", True, False),
        ("1.3.0rc5", "", True, False),
        ("1.3.0rc13", "Hang detected", False, False),
        ("1.3.0rc13", "", False, True),
    ],
)
def test_what_health_knows(monkeypatch, version, broken, shut_down, well):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    engine = IdleEngine()
    engine.broken, engine.shut_down = broken, shut_down
    assert health.well(engine) is well


@pytest.mark.parametrize(
    ("version", "name", "config", "offline", "loads"),
    [
        ("1.2.0", QWEN, LARGE, "1", False),
        ("1.2.1", QWEN, LARGE, "1", False),
        ("1.3.0rc13", QWEN, LARGE, "1", False),
        ("1.3.0rc5", QWEN, LARGE, "1", True),
        ("1.3.0rc20", QWEN, LARGE, "1", True),
        ("1.2.1", QWEN, SMALL, "1", True),
        ("1.2.1", QWEN, LARGE, "0", True),
    ],
)
def test_a_tokenizer_by_its_hub_id_offline(monkeypatch, version, name, config, offline, loads):
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    assert _has_tokenizer(name, config) is loads


def test_a_tokenizer_by_its_path_loads_everywhere(monkeypatch, snapshot, capsys):
    monkeypatch.setenv("TRT_LLM_VERSION", "1.2.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert transformers() == "4.57.3"
    assert _has_tokenizer(str(snapshot), LARGE)
    assert not _has_tokenizer(QWEN, LARGE)
    assert "offline mode is enabled" in capsys.readouterr().out
    assert not hub.asks_for_model_info(QWEN, {"vocab_size": 100_000})
