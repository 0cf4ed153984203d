"""The command line's own errors, and which engine argument an option sets."""

import json
from ipaddress import IPv4Address

import pytest

pytest.importorskip("click")

from cluster import engine
from cluster.service_spec import snapshot_folder
from lab.engine.tensorrt_llm import llm_args
from lab.engine.tensorrt_llm.commands.serve import command_line, engine_values
from tests import samples


def refused(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        command_line("1.3.0rc5").main(list(words), prog_name="trtllm-serve")
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL", "--tp-size", "2"], "--tp-size"),
        (["MODEL", "--port", "x"], "'x' is not a valid integer"),
        (["MODEL", "--backend", "vllm"], "'vllm' is not one of 'pytorch'"),
        (["serve"], "Missing argument 'MODEL'"),
        (["--port", "8355", "MODEL"], "--port"),  # options come after the model
        (["MODEL", "--served_model_name", "x"], "--served_model_name"),
    ],
)
def test_wrong_words_end_with_2(words, said, capsys):
    assert refused(*words) == 2
    assert said in capsys.readouterr().err


def test_failing_fast_is_on_from_1_4(monkeypatch):
    def of(version):
        monkeypatch.setenv("TRT_LLM_VERSION", version)
        by_field, given = engine_values({"fail_fast_on_attention_window_too_large": False}, set())
        return llm_args.merge(by_field, given, {})["fail_fast_on_attention_window_too_large"]

    assert (of("1.3.0rc5"), of("1.4.0rc1")) == (False, True)


def test_fields_of_the_engine():
    values = {"tp_size": 2, "kv_cache_free_gpu_memory_fraction": 0.5, "host": "x", "port": 1}
    by_field, given = engine_values(values, {"tp_size", "host"})
    assert by_field == {"tensor_parallel_size": 2, "kv_cache_config.free_gpu_memory_fraction": 0.5}
    assert given == {"tensor_parallel_size"}


@pytest.mark.parametrize(
    "version", ["1.2.0rc2", "1.2.1", "1.3.0rc5", "1.3.0rc13", "1.3.0rc20", "1.3.0rc29", "1.4.0rc1"]
)
def test_every_release_takes_the_products_command_line_and_options(monkeypatch, version):
    """An option or key that a release does not know ends its start."""
    monkeypatch.setenv("TRT_LLM_VERSION", version)
    snapshot = snapshot_folder(samples.settings(1).model, samples.COMMIT)
    for count, more in ((1, {}), (2, {"tensorParallel": 1, "trustRemoteCode": True})):
        asked = engine.resolve(samples.settings(count, maxSeqLen=4096, **more))
        words = engine.serve_command(asked, IPv4Address("10.24.11.11"), "/options.yml", snapshot)
        serve = command_line(version).commands["serve"]
        found = serve.make_context("serve", words[1:]).params
        assert (found["max_seq_len"], found["tokenizer"]) == (4096, snapshot)
        by_field, given = engine_values(found, {"max_seq_len"})
        args = llm_args.merge(by_field, given, json.loads(engine.options_file(asked)))
        llm_args.check(args)
        assert args["max_seq_len"] == 4096
        assert args["disable_overlap_scheduler"] is (count == 1)
