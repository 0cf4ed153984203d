"""What a start compiles, what spares the next one the work, and what the wrong files do to a start."""

import json
import threading
import time
from pathlib import Path

import pytest

from lab.engine.tensorrt_llm import kernels
from lab.engine.tensorrt_llm.kernels import Autotuner, Work, compile_modules

HERE = Work(number=0, size=1, folder="/models/qwen", split=(1, 1), seconds=0.2)


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """The engine's variables, as the product sets them."""
    monkeypatch.setenv("FLASHINFER_WORKSPACE_BASE", str(tmp_path / "flashinfer"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    monkeypatch.setenv("TLLM_AUTOTUNER_CACHE_PATH", str(tmp_path / "autotuner.json"))
    return tmp_path


def alone(value):
    return [value]


def start(work=HERE, allgather=alone):
    """Seconds that one start spends."""
    begun = time.monotonic()
    compile_modules(work)
    tuner = Autotuner(work, allgather)
    tuner.warm_up()
    tuner.warm_up()  # the trial's and the final one
    return time.monotonic() - begun


@pytest.mark.usefixtures("caches")
def test_the_second_start_compiles_nothing(capsys):
    assert start() >= HERE.seconds
    assert capsys.readouterr().out.count("(simulated)") == 2
    assert start() < HERE.seconds / 2
    log = capsys.readouterr().out
    assert "(simulated)" not in log
    assert "[AutoTuner] Successfully loaded cache" in log


def test_without_the_variables_everything_is_in_the_home_of_the_container(monkeypatch, tmp_path, capsys):
    start()
    monkeypatch.setenv("HOME", str(tmp_path / "a new container's"))
    capsys.readouterr()
    start()
    assert capsys.readouterr().out.count("(simulated)") == 2


@pytest.mark.parametrize(
    "other",
    [
        Work(0, 1, "/models/other", (1, 1), 0.0),
        Work(0, 2, "/models/qwen", (1, 2), 0.0),
        Work(0, 1, "/models/qwen", (2, 1), 0.0),
    ],
)
@pytest.mark.usefixtures("caches")
def test_tactics_of_another_model_or_split_are_taken_and_fail(other):
    start()
    with pytest.raises(RuntimeError, match="Failed to run cutlass FP4 gemm"):
        Autotuner(other, alone).warm_up()


@pytest.mark.usefixtures("caches")
def test_so_are_those_of_another_release(monkeypatch):
    start()
    monkeypatch.setenv("TRT_LLM_VERSION", "1.3.0rc13")
    with pytest.raises(RuntimeError, match="Failed to run cutlass FP4 gemm"):
        start()


def test_a_file_without_this_ranks_section_ends_the_start(caches):
    start()
    assert list(json.loads((caches / "autotuner.json").read_text())) == ["metadata", "rank_0"]
    with pytest.raises(AssertionError, match="Rank 1 cache not found"):
        Autotuner(Work(1, 2, "/models/qwen", (2, 1), 0.0), alone).warm_up()


@pytest.mark.parametrize("name", ["autotuner.json", "*.so", "*.cubin"])
def test_a_file_that_is_half_written_ends_every_start(caches, name):
    start()
    [path] = caches.rglob(name)
    path.write_bytes(path.read_bytes()[:-2])
    for _ in range(2):
        with pytest.raises((OSError, ValueError)):
            start()


@pytest.mark.usefixtures("caches")
def test_a_rank_that_finds_its_tactics_alone_leaves_the_other_waiting(monkeypatch):
    slept = []

    class Waiting(Exception):
        pass

    def sleep(seconds):
        slept.append(seconds)
        if seconds >= 60:
            raise Waiting

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(Waiting):
        Autotuner(HERE, lambda own: [own, True]).warm_up()


def test_both_ranks_of_a_node_write_into_one_file(caches):
    barrier, told = threading.Barrier(2), [False, False]

    def gather(number):
        def allgather(value):
            told[number] = value
            barrier.wait(5)
            found = list(told)
            barrier.wait(5)
            return found

        return allgather

    ranks = [
        threading.Thread(target=Autotuner(Work(n, 2, "/m", (2, 1), 0.0), gather(n)).warm_up) for n in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(5)
    assert set(json.loads(Path(caches / "autotuner.json").read_text())) == {"metadata", "rank_0", "rank_1"}
    assert kernels.OPERATION in json.loads((caches / "autotuner.json").read_text())["rank_1"]
