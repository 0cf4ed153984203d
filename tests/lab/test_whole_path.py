"""The whole path on two simulated Sparks: up, chat, nothing to do, switch, drift, failure, destroy.

The tests of this file are one story: each goes on where the one before ended.
"""

from __future__ import annotations

import os
import signal

import pytest
import requests
from openai import OpenAI

from cluster.service_spec import SHM_BYTES
from tests.lab import stack as stacks

pytestmark = pytest.mark.lab
RESOURCES = 24  # a pair's: see tests/graph
#: Of each process of a rank.
SCORES = """for each in /proc/[0-9]*; do
  ! grep -qz ^OMPI_COMM_WORLD_RANK= $each/environ 2>/dev/null || cat $each/oom_score_adj
done"""
FIRST, SECOND = "openai/gpt-oss-120b", "openai/gpt-oss-20b"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("path") / "project", lab)
    one.before = stacks.leavings(lab)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


@pytest.fixture
def api(stack):
    return OpenAI(base_url=f"{stack.output('endpoint')}/v1", api_key="none", timeout=30, max_retries=0)


def ranks(lab, node: int) -> str:
    return stacks.inside(lab, node, "docker ps --quiet --no-trunc --filter label=trtspark.rank").strip()


def log(lab) -> str:
    """Of the server that runs, with the lines of both ranks."""
    return stacks.inside(lab, 0, f"docker logs {ranks(lab, 0)} 2>&1")


def unchanged(stack):
    run = stack.up()
    assert run.counts == {"unchanged": RESOURCES}, run.text


def test_preview_shows_everything_and_touches_nothing(stack, lab):
    run = stack.pulumi("preview")
    assert run.counts == {"to create": RESOURCES}
    stacks.same(lab, stack.before)


def test_up(stack, lab):
    run = stack.up()
    assert run.counts == {"created": RESOURCES}
    assert stack.output("model") == FIRST
    transport = stack.output("transport")
    assert len(transport) == 2
    assert all("NET/IB" in line and "rocep1s0f0" in line and "roceP2p1s0f0" in line for line in transport)
    assert "@sha256:" in stack.output("image")


def test_the_first_start_compiles_on_both_ranks(stack, lab):
    text = log(lab)
    assert "no compiled kernels for this image, model and split yet" in text
    assert text.count("(simulated) compiled 2 kernel modules") == 2
    assert text.count("(simulated) tuned 1 operation") == 2


def test_the_kernel_would_end_every_rank_before_anything_else(stack, lab):
    for node in (0, 1):
        scores = stacks.inside(lab, node, f"docker exec {ranks(lab, node)} bash -c '{SCORES}'").split()
        assert len(scores) >= 1
        assert set(scores) == {"1000"}
        assert stacks.inside(lab, node, "cat /proc/self/oom_score_adj").strip() != "1000"
    size = stacks.inside(lab, 1, f"docker exec {ranks(lab, 1)} df --output=size -B1 /dev/shm").split()[1]
    assert int(size) == SHM_BYTES


def test_an_answer_that_both_nodes_gave(api):
    answer = api.chat.completions.create(
        model=FIRST, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=64
    )
    text = answer.choices[0].message.content
    assert "spark-1" in text.replace(" ", "")
    assert "spark-2" in text.replace(" ", "")
    assert answer.usage.completion_tokens > 0


def test_a_streamed_answer_is_the_same_text_in_pieces(api):
    body = {"model": FIRST, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 32}
    whole = api.chat.completions.create(**body)
    chunks = list(api.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_second_up_does_nothing(stack):
    unchanged(stack)


def test_refresh_finds_no_drift_where_there_is_none(stack):
    for _ in range(2):  # the second compares with what the first wrote down
        assert stack.pulumi("refresh", "--yes", "--skip-preview").counts == {"unchanged": RESOURCES}


@pytest.mark.long
def test_a_cap_on_the_gpus_clock_comes_changes_and_goes(stack, lab):
    """The ranks go on meanwhile, and nothing of it stays."""
    running, unit = ranks(lab, 1), "cat /etc/systemd/system/trtspark-gpu-clock.service 2>/dev/null || true"
    for limit, counts in (
        (1800, {"created": 2, "unchanged": RESOURCES}),
        (1500, {"updated": 2, "unchanged": RESOURCES}),
        (None, {"deleted": 2, "unchanged": RESOURCES}),
    ):
        stack.set("gpuClockLimit", limit)
        assert stack.up().counts == counts
        for node in (0, 1):
            text = stacks.inside(lab, node, unit)
            assert f"=0,{limit}\n" in text if limit else text == ""
    assert ranks(lab, 1) == running


def test_a_switch_replaces_only_what_depends_on_the_model(stack, lab):
    worker = ranks(lab, 1)
    stack.set("model", SECOND)
    preview = stack.pulumi("preview", "--diff").text
    assert f'"{FIRST}" => "{SECOND}"' in preview
    run = stack.up()
    assert run.counts == {"updated": 4, "unchanged": RESOURCES - 4}
    assert ranks(lab, 1) == worker
    models = requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).json()
    assert [entry["id"] for entry in models["data"]] == [SECOND]
    assert log(lab).count("(simulated) tuned 1 operation") == 2  # FIRST's kernels are not SECOND's
    unchanged(stack)


def test_drift_is_found_and_repaired(stack, lab):
    stacks.inside(lab, 0, "docker service scale --detach trtspark-lab-rank-0=0")
    stacks.inside(lab, 0, "docker node update --label-rm trtspark.rank spark-2")
    refreshed = stack.pulumi("refresh", "--yes", "--skip-preview")
    assert refreshed.counts["updated"] >= 2
    assert stack.up().counts["updated"] >= 2
    assert requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).ok
    unchanged(stack)


def test_a_removed_service_is_made_again(stack, lab):
    stacks.inside(lab, 0, "docker service rm trtspark-lab-rank-1")
    stack.pulumi("refresh", "--yes", "--skip-preview")
    assert stack.up().counts["created"] == 1
    assert requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).ok


def served(stack) -> list[str]:
    models = requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).json()
    return [entry["id"] for entry in models["data"]]


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("lab/out-of-memory", ["out of memory", "gpuMemoryFraction"]),
        ("lab/crash-at-load", ["no kernels for"]),
        pytest.param(
            "lab/completions-500",
            ["lists the model but completes nothing", "HTTP 500", "cutlass FP4 gemm"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_model_that_cannot_start_fails_with_its_cause_and_the_old_one_serves_again(stack, model, parts):
    stack.set("model", model)
    run = stack.up(ok=False)
    assert run.code != 0
    for part in [*parts, f"{SECOND} serves again as before"]:
        assert part in run.text, run.text
    assert "Traceback" not in run.text.partition("Diagnostics:")[2].replace(
        "Traceback (most recent call last): |", ""
    )
    assert served(stack) == [SECOND]
    assert stack.output("model") == SECOND


def test_never_ready_ends_at_the_deadline_and_the_old_one_serves_again(stack):
    stack.set("model", "lab/never-ready")
    stack.set("readyTimeout", 8)
    run = stack.up(ok=False)
    assert run.code != 0
    assert "waited 8 s for lab/never-ready to answer" in run.text
    assert f"{SECOND} serves again as before" in run.text
    assert served(stack) == [SECOND]


def test_set_back_there_is_nothing_to_do_but_to_forget_the_failed_one(stack):
    stack.set("model", SECOND)
    stack.set("readyTimeout", 120)
    stack.up()
    assert served(stack) == [SECOND]
    unchanged(stack)


def test_a_switch_that_was_killed_is_taken_to_what_the_configuration_says(stack, lab):
    """Killed after Swarm had the new spec: the state does not know, and a look does."""
    stack.set("model", FIRST)
    killed = stack.start("up", "--yes", "--skip-preview")
    stacks.until(lambda: FIRST in services(lab), 60, "the new spec in the Swarm")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    stack.set("model", SECOND)
    stack.pulumi("cancel", "--yes", ok=False)
    stack.up()
    assert served(stack) == [SECOND]
    unchanged(stack)


def services(lab) -> str:
    return stacks.inside(lab, 0, "docker service inspect trtspark-lab-rank-0 --format '{{json .Spec}}'")


def test_not_running_stops_the_ranks_and_keeps_the_rest(stack, lab):
    stack.set("running", False)
    stack.up()
    assert ranks(lab, 0) == ranks(lab, 1) == ""
    stack.set("running", None)
    stack.up()
    assert requests.get(f"{stack.output('endpoint')}/v1/models", timeout=5).ok
    text = log(lab)
    assert "reusing the kernels" in text
    assert text.count("[AutoTuner] Successfully loaded cache") == 4  # the trial's and the final one, per rank
    assert "(simulated)" not in text


def test_a_dead_rank_ends_the_job_and_swarm_starts_it_again(stack, lab):
    before = ranks(lab, 0)
    stacks.inside(lab, 1, f"docker kill {ranks(lab, 1)}")
    url = f"{stack.output('endpoint')}/v1/models"
    stacks.until(lambda: ranks(lab, 0) not in ("", before), 30, "rank 0's new container")
    stacks.until(lambda: stacks.answers(url), 60, "an answer")


def test_destroy_gives_the_machines_back_as_they_were(stack, lab):
    run = stack.destroy()
    assert run.counts == {"deleted": RESOURCES}
    stacks.same(lab, stack.before)


def test_one_node_is_the_same_program(stack, lab):
    stack.set("nodes", [{"host": lab["nodes"][0]["host"]}])
    stack.up()
    answer = requests.post(
        f"{stack.output('endpoint')}/v1/chat/completions",
        json={"model": SECOND, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
        timeout=30,
    )
    assert answer.status_code == 200
    stack.destroy()
    stacks.same(lab, stack.before)
