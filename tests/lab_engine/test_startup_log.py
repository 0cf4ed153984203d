"""The lines of a start."""

import pytest

from lab.engine.tensorrt_llm import llm_args, startup_log
from lab.engine.tensorrt_llm.logger import Logger


def args(**changes):
    return {**llm_args.defaults(), **changes}


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
    startup_log.after_weights(args(cuda_graph_config={"enable_padding": True}, max_batch_size=64), {}, None)
    log = capsys.readouterr().out
    assert log.count("Creating CUDA graph instances for 11 batch sizes.") == 2  # trial and final
    assert log.index("[Autotuner] Autotuning process starts") < log.index("Estimated max memory in KV cache")


def test_out_of_memory_text():
    with pytest.raises(RuntimeError, match="insufficient GPU memory") as caught:
        startup_log.after_weights(args(), {}, "out_of_memory")
    assert "torch.OutOfMemoryError: CUDA out of memory." in str(caught.value)


def test_prefixes_and_levels(capsys, monkeypatch):
    log = Logger()
    log.info("one")
    log.rank = 1
    log.set_level("error")
    log.info("two")
    log.error("three")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("] ", 1)[1] for line in lines] == ["[TRT-LLM] [I] one", "[TRT-LLM] [RANK 1] [E] three"]
    monkeypatch.setenv("TLLM_LOG_LEVEL", "WARNING")
    log = Logger()
    log.set_level("info")
    log.info("four")
    assert "Logger level already set from environment. Discard new verbosity: info" in capsys.readouterr().out
