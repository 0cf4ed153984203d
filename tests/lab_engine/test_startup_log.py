"""The lines of a start."""

import pytest

from lab.engine.tensorrt_llm import llm_args, startup_log
from lab.engine.tensorrt_llm.logger import Logger


def args(**changes):
    return {**llm_args.defaults(), **changes}


def test_a_sequence_that_the_kv_cache_cannot_hold(monkeypatch, capsys):
    """1.3 cuts it, 1.4 ends; unless the options say otherwise."""
    short = {"max_seq_len": 4096, "kv_cache_config": {"free_gpu_memory_fraction": 0.9, "max_tokens": 1024}}
    assert startup_log.fitted_seq_len(args(**short), {}) == 1024
    assert "adjusted to 1024" in capsys.readouterr().out
    monkeypatch.setenv("TRT_LLM_VERSION", "1.4.0rc1")
    with pytest.raises(ValueError, match="Old window: 4096, new window: 1024"):
        startup_log.fitted_seq_len(args(**short), {})
    assert startup_log.fitted_seq_len(args(**short | {"max_seq_len": 1024}), {}) == 1024
    relaxed = {**short, "fail_fast_on_attention_window_too_large": False}
    assert startup_log.fitted_seq_len(args(**relaxed), {}) == 1024


@pytest.mark.parametrize(
    ("graphs", "batch", "sizes"),
    [
        (None, 2048, []),
        ({"enable_padding": True}, 64, [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64]),
        ({}, 40, list(range(1, 33))),
        ({}, 2048, [*range(1, 33), 64, 128]),
        ({"max_batch_size": 512, "enable_padding": True}, 2048, [1, 2, 4, *range(8, 129, 8), 256, 512]),
        ({"batch_sizes": [1, 4, 99]}, 8, [1, 4]),
    ],
)
def test_graph_batch_sizes(graphs, batch, sizes):
    assert startup_log.graph_batch_sizes(args(cuda_graph_config=graphs, max_batch_size=batch)) == sizes


def test_eleven_graphs_on_a_gb10_with_padding(capsys):
    graphs = args(cuda_graph_config={"enable_padding": True}, max_batch_size=64)
    startup_log.after_weights(graphs, {}, None, lambda: print("tuned"))
    log = capsys.readouterr().out
    assert log.count("Creating CUDA graph instances for 11 batch sizes.") == 2  # trial and final
    assert log.index("tuned") < log.index("Estimated max memory in KV cache")


def test_out_of_memory_text():
    with pytest.raises(RuntimeError, match="insufficient GPU memory") as caught:
        startup_log.after_weights(args(), {}, "out_of_memory", lambda: None)
    assert "torch.OutOfMemoryError: CUDA out of memory." in str(caught.value)


def test_prefixes_and_levels(capsys, monkeypatch):
    log = Logger()
    log.info("nobody has set a level: errors only")
    log.cpp("the C++ runtime has a default of its own")
    log.set_level("info")
    log.info("one")
    log.rank = 1
    log.set_level("error")
    log.info("two")
    log.error("three")
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop(0) == "[TensorRT-LLM][INFO] the C++ runtime has a default of its own"
    assert [line.split("] ", 1)[1] for line in lines] == ["[TRT-LLM] [I] one", "[TRT-LLM] [RANK 1] [E] three"]
    monkeypatch.setenv("TLLM_LOG_LEVEL", "WARNING")
    log = Logger()
    log.set_level("info")
    log.info("four")
    assert "Logger level already set from environment. Discard new verbosity: info" in capsys.readouterr().out
