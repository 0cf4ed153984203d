"""Sampling beside a run: the node's program for real, readings, what limited it, and a whole sampler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from remote import node
from tests import samples
from tests.trtspark.bench_samples import SECOND, machine_samples, result, run, system_info
from tests.trtspark.sse_server import Behaviour, threaded
from trtspark.bench import limits, readings
from trtspark.bench.execute import Place
from trtspark.bench.execute import run as execute
from trtspark.bench.plan import Wishes, workloads
from trtspark.bench.results import Samples
from trtspark.bench.sampling import Sampler, conclude
from trtspark.bench.screen import Live
from trtspark.bench.stream import Target
from trtspark.bench.tokens import approximate
from trtspark.terminal import err

SMI = """#!/bin/sh
case "$*" in
  *{refused}*) echo 'Field "x" is not a valid field to query.'; exit 2 ;;
esac
echo $$ >> {pids}
while :; do echo '41.50, 55, 93, 2400{more}'; sleep 0.1; done
"""


def machine(tmp_path: Path, refused: str = "nothing", more: str = ", 0x0000000000000020") -> dict[str, str]:
    """A PATH with an nvidia-smi that goes on."""
    path = tmp_path / "nvidia-smi"
    path.write_text(SMI.format(refused=refused, more=more, pids=tmp_path / "pids"))
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


class Local:
    """A session that is a process here."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    def stream(self, command: str, stdin: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", "-c", "exec env " + command.replace("python3", sys.executable, 1)],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        return process


def lines(env: dict[str, str], count: int) -> list[dict]:
    process = Local(env).stream(
        node.command({"sampler": {"interval": 0.2, "seconds": 60}}), node.program(sampler="main")
    )
    assert process.stdout is not None
    found = [json.loads(process.stdout.readline()) for _ in range(count)]
    process.stdout.close()
    assert process.wait(10) == 0
    return found


def gone(tmp_path: Path) -> bool:
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_node_tells_its_gpu_cores_memory_and_adapters_and_leaves_nothing(tmp_path):
    *_, last = lines(machine(tmp_path), 4)
    assert last["gpu"]["power.draw"] == "41.50"
    assert last["gpu"]["clocks_event_reasons.active"] == "0x0000000000000020"
    assert last["cpu"][0] < last["cpu"][1]
    assert last["memory"] > 1 << 20
    assert gone(tmp_path)


def test_a_driver_that_does_not_know_the_last_field_is_asked_without(tmp_path):
    *_, last = lines(machine(tmp_path, refused="event_reasons", more=""), 6)
    assert last["gpu"]["power.draw"] == "41.50"
    assert "clocks_event_reasons.active" not in last["gpu"]


def test_a_machine_without_nvidia_smi_still_tells_the_rest(tmp_path):
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    *_, last = lines(env, 3)
    assert last["gpu"] is None
    assert last["memory"] > 0


def sample(t: float, sent: int = 0, busy: int = 0, total: int = 0, **gpu: str) -> dict:
    return {
        "t": t,
        "gpu": gpu,
        "cpu": [busy, total],
        "memory": 1 << 30,
        "hca": {"a": [sent, sent], "b": [0, 0]},
    }


def test_rates_are_differences_and_the_run_alone_counts():
    said = [
        (0, sample(10.0, 100, 10, 100)),
        (2 * SECOND, sample(12.0, 300, 20, 200, **{"utilization.gpu": "50 %", "power.draw": "[N/A]"})),
        (9 * SECOND, sample(19.0, 900, 20, 300)),
    ]
    found = readings.node_samples("n", said, SECOND, 5 * SECOND)
    assert found.t_s == [1.0]
    assert found.fabric_sent_bytes_per_s == [100.0]
    assert found.cpu_busy == [0.1]
    assert found.gpu_busy == [0.5]
    assert found.power_w == [None]


def test_a_counter_that_went_back_says_nothing():
    said = [(0, sample(1.0, 500)), (SECOND, sample(2.0, 100))]
    assert readings.node_samples("n", said, 0, SECOND).fabric_sent_bytes_per_s[-1] is None


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("0x0000000000000001", []),
        ("0x0000000000000060", ["temperature (software)", "temperature (hardware)"]),
        ("[N/A]", []),
    ],
)
def test_slowdowns(mask, words):
    assert list(readings.slowdowns(mask)) == words


ITERATION = {
    "iterLatencyMS": 20.0,
    "numQueuedRequests": 3,
    "maxBatchSizeRuntime": 4,
    "kvCacheStats": {"maxNumBlocks": 100, "usedNumBlocks": 97},
    "inflightBatchingStats": {"numScheduledRequests": 4, "numPausedRequests": 1},
}


def test_iterations_become_means_by_the_second():
    found = readings.engine_samples(
        [(2 * SECOND, [ITERATION, {**ITERATION, "iterLatencyMS": 40.0}])], SECOND, 9 * SECOND
    )
    assert found is not None
    assert (found.t_s, found.iterations, found.iteration_ms) == ([1.0], [2], [30.0])
    assert (found.batch, found.most_batch, found.kv_use) == ([4.0], 4, [0.97])
    assert readings.engine_samples([], 0, 1) is None


def test_what_limited_it_is_told_from_what_was_seen():
    one = result(concurrency=8)
    seen = readings.engine_samples([(2 * SECOND, [ITERATION])], SECOND, 9 * SECOND)
    told = limits.limits(Samples(engine=seen), one.figures, one.workload, None)
    assert told[0] == "the batch: 4 requests fit (maxBatchSize) and up to 3 waited"
    assert told[1].startswith("the KV cache: up to 97% in use")


def test_without_the_engines_word_the_settings_tell_of_the_batch():
    one = result(concurrency=8, system=system_info())
    told = limits.limits(Samples(), one.figures, one.workload, one.system)
    assert told == ["the batch: 8 requests at once, and 4 fit (maxBatchSize): the others waited"]


def test_heat_and_busy_gpus():
    one, beside = result(), machine_samples(run())
    beside.nodes[0].slowdown = ["temperature (software)"]
    beside.nodes[1].gpu_busy = [0.95] * len(beside.nodes[1].t_s)
    beside.nodes[0].gpu_busy = beside.nodes[1].gpu_busy
    told = limits.limits(Samples(nodes=beside.nodes), one.figures, one.workload, None)
    assert "the clocks of spark-1 were held back: temperature (software)" in told[0]
    assert told[-1] == "the GPUs: 95%, 95% busy"


def test_energy_is_power_by_time_and_none_where_a_node_has_no_power():
    beside = machine_samples(run(), nodes=1)
    beside.nodes[0].power_w = [50.0] * len(beside.nodes[0].t_s)
    assert limits.energy(beside.nodes, 10.0) == pytest.approx(500)
    one = result()
    concluded = conclude(beside.nodes, None, one.figures, one.workload, None)
    assert concluded.tokens_per_j == pytest.approx(one.figures.output_tokens / (50 * one.figures.duration_s))
    beside.nodes[0].power_w = [None] * len(beside.nodes[0].t_s)
    assert limits.energy(beside.nodes, 10.0) is None


def test_a_run_with_everything_sampled_beside_it(tmp_path):
    env = machine(tmp_path)
    counting, info = approximate("a test")
    with threaded(Behaviour(first=0.05, gap=0.02, tokens=30, metrics=())) as one:
        watch = Sampler(samples.connections(2), one.url, system_info(), lambda _c: Local(env), 0.2)
        place = Place(Target(one.url), "m", counting, info, watch=watch)
        [load] = workloads(Wishes("quick", requests=8, concurrency=[2], warmup=0))

        def iterate() -> None:
            while len(one.bodies) < 4:  # the run is under way: what was there before is not its own
                time.sleep(0.01)
            one.how.metrics = tuple(dict(ITERATION) for _ in range(5))

        serving = threading.Thread(target=iterate, daemon=True)
        serving.start()
        made = execute(place, load, Live(err))
        serving.join(5)
    assert made.samples is not None
    assert [each.node for each in made.samples.nodes] == ["10.24.11.11", "10.24.11.12"]
    assert made.samples.nodes[0].power_w[-1] == 41.5
    assert made.samples.tokens_per_j is not None
    assert made.samples.energy_j == pytest.approx(2 * 41.5 * made.figures.duration_s, rel=0.01)
    assert made.samples.engine is not None
    assert made.samples.engine.iterations == [5]
    deadline = time.monotonic() + 5
    while not gone(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone(tmp_path)


def test_an_engine_without_statistics_is_said(tmp_path):
    env = machine(tmp_path)
    counting, info = approximate("a test")
    with threaded(Behaviour(first=0.05, gap=0.02, tokens=30)) as one:
        watch = Sampler(samples.connections(1), one.url, None, lambda _c: Local(env), 0.2)
        place = Place(Target(one.url), "m", counting, info, watch=watch)
        [load] = workloads(Wishes("quick", requests=3, concurrency=[2], warmup=0))
        made = execute(place, load, Live(err))
    assert "iterationStats true" in " ".join(made.notes)
