"""`trtspark bench` on the simulated pair: one model with everything beside it, then two models in turn."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time

import pytest
import requests

from tests.lab import stack as stacks
from trtspark.bench import matrix, results

pytestmark = [pytest.mark.lab, pytest.mark.long]
OWN, OTHER = "openai/gpt-oss-120b", "openai/gpt-oss-20b"
ABSENT = "Qwen/Qwen2.5-72B-Instruct"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("bench") / "project", lab)
    one.up()
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def trtspark(stack, *words, ok=True):
    done = subprocess.run(
        [str(stacks.ROOT / ".venv/bin/trtspark"), *words],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": str(stacks.ROOT)},
        capture_output=True,
        text=True,
        timeout=stacks.DEADLINE_S,
        check=False,
    )
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done


def served(stack):
    return [
        entry["id"]
        for entry in requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).json()["data"]
    ]


def test_quick(stack, lab):
    done = trtspark(stack, "bench", "quick", "-n", "24")
    [path] = results.found(stack.folder / ".bench")
    found = results.read(path)
    assert found.figures.completed == 24, done.stdout
    assert found.figures.output_tokens == 24 * 128
    assert found.tokenizer.exact
    assert "from the head's cache" in found.tokenizer.source
    # Sixty tokens a second is what the lab's engine is told; four at once is its batch.
    assert found.figures.user_tokens_per_s.p50 == pytest.approx(60, rel=0.15)
    system = found.system
    assert len(system.nodes) == 2
    assert "@sha256:" in system.image
    assert len(system.revision) == 40
    assert "NET/IB" in system.transport[0]
    beside = found.samples
    assert [node.node for node in beside.nodes] == [node["host"] for node in lab["nodes"]]
    assert all(11.17 in node.power_w for node in beside.nodes)
    assert any(rate for rate in beside.nodes[0].fabric_sent_bytes_per_s)
    assert beside.tokens_per_j > 0
    assert beside.engine.most_batch == 4
    assert "Saved" in done.stdout


def test_no_secret_and_no_session_stays(stack, lab):
    text = "".join(path.read_text() for path in (stack.folder / ".bench").iterdir())
    for private in ("ssh-ed25519", "PRIVATE", lab["identity"], "GPU-"):
        assert private not in text
    for node in range(2):
        stacks.until(
            lambda node=node: not stacks.inside(lab, node, "pgrep -f '[l]ms 1000' || true").strip(),
            10,
            "nvidia-smi to end",
        )


def test_a_report_of_it(stack):
    trtspark(stack, "bench", "report")
    page = (stack.folder / "report.html").read_text()
    assert OWN in page
    assert "NVIDIA GB10" in page


def test_two_models_and_one_that_nobody_has(stack):
    before = (stack.folder / "Pulumi.lab.yaml").read_text()
    words = ("bench", "quick", "--all", "--models", f"{OTHER},Qwen/Qwen2.5-7B-Instruct,{ABSENT}")
    planned = trtspark(stack, *words, "--dry-run")
    assert "SKIPPED" in planned.stdout
    trtspark(stack, *words)
    found = matrix.last(stack.folder / ".bench", "lab")
    rows = {row.model: row for row in found.results}
    assert [row.status for row in found.results] == ["SUCCESS", "SUCCESS", "SKIPPED"], found
    assert rows[OTHER].output_tps > 100
    assert rows[OTHER].transport.startswith("rank 0") or "NET/IB" in rows[OTHER].transport
    assert found.restored
    assert served(stack) == [OWN]
    assert (stack.folder / "Pulumi.lab.yaml").read_text() == before
    table = matrix.path(stack.folder / ".bench", found).with_suffix(".csv")
    assert [row["Status"] for row in csv.DictReader(table.read_text().splitlines())] == [
        "SUCCESS",
        "SUCCESS",
        "SKIPPED",
    ]
    # Nothing is left to do: the stack is as its own file says.
    assert set(stack.up().counts) == {"unchanged"}


def test_a_model_that_crashes_is_survived(stack):
    done = trtspark(stack, "bench", "--all", "--models", f"lab/crash-at-load,{OTHER}", "-n", "4")
    found = matrix.last(stack.folder / ".bench", "lab")
    assert [row.status for row in found.results] == ["SWITCH_FAILED", "SUCCESS"], done.stdout + done.stderr
    assert "no kernels for" in found.results[0].reason
    assert served(stack) == [OWN]
    assert json.loads(matrix.path(stack.folder / ".bench", found).read_text())["restored"] is True


def test_ctrl_c_in_the_middle_of_a_switch_puts_the_own_model_back(stack):
    """As a terminal does it: the signal goes to pulumi, too."""
    before = matrix.last(stack.folder / ".bench", "lab")
    process = subprocess.Popen(
        [str(stacks.ROOT / ".venv/bin/trtspark"), "bench", "--all", "--models", f"{OTHER},lab/never-ready"],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": str(stacks.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    def switching() -> bool:
        found = matrix.last(stack.folder / ".bench", "lab")
        if found is None or (before is not None and found.started == before.started):
            return False
        log = matrix.path(stack.folder / ".bench", found).with_suffix(".log")
        return not found.restored and log.is_file() and "updating" in log.read_text()

    try:
        stacks.until(switching, 60, "the switch to begin")
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)  # impatience changes nothing
        out, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    found = matrix.last(stack.folder / ".bench", "lab")
    assert process.returncode == 130, out
    assert [row.status for row in found.results] == ["INTERRUPTED"], out
    assert found.restored
    assert served(stack) == [OWN]
    assert set(stack.up().counts) == {"unchanged"}
