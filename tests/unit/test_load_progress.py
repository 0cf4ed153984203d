"""How far a start is, read off a log's lines as TensorRT-LLM prints them."""

from __future__ import annotations

import pytest

from cluster.load_progress import progress

LOG = [
    "[trtspark] waiting for rank 1 at 192.168.100.12: no rank container of stack dgx runs on spark-2",
    "[trtspark] rank 1 at 192.168.100.12 is there",
    "[trtspark] starting: mpirun --allow-run-as-root",
    "mpi_rank: 0",
    "mpi_rank: 1",
    "[TensorRT-LLM] TensorRT LLM version: 1.3.0rc5",
    "[10/10/2026-10:00:00] [TRT-LLM] [I] Use 63.32 GB for model weights.",
    "[10/10/2026-10:00:00] [TRT-LLM] [I] Prefetching 63.20GB checkpoint files.",
    "Loading safetensors weights in parallel: 100%|##########| 15/15 [00:01<00:00]",
    "Loading weights:  25%|##        | 200/801 [00:11<00:33, 17.30it/s]",
    "[10/10/2026-10:00:49] [TRT-LLM] [I] Model init total -- 49.14s",
    "[10/10/2026-10:01:00] [TRT-LLM] [I] [Autotuner] Autotuning process starts ...",
    "[10/10/2026-10:01:20] [TRT-LLM] [I] Creating CUDA graph instances for 11 batch sizes.",
    "INFO:     Application startup complete.",
]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""),
        (1, "waiting for rank 1 at 192.168.100.12"),
        (3, "starting the ranks"),
        (4, "starting the ranks, 1 of 2 ranks"),
        (6, "engine starts, 2 of 2 ranks"),
        (8, "reading the files, 2 of 2 ranks"),
        (10, "loading weights, 15.8 of 63.3 GB, 2 of 2 ranks"),
        (11, "weights loaded, 2 of 2 ranks"),
        (12, "tuning kernels, 2 of 2 ranks"),
        (13, "capturing CUDA graphs, 2 of 2 ranks"),
        (14, "up, the first completion is awaited, 2 of 2 ranks"),
    ],
)
def test_phases(count, said):
    assert progress(LOG[:count], 2) == said


def test_one_rank_is_not_counted():
    assert progress(LOG[3:10], 1) == "loading weights, 15.8 of 63.3 GB"


def test_without_a_size_the_share_is_told():
    assert progress(["Loading weights:  40%|####  |"], 1) == "loading weights, 40 %"
