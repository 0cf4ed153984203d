"""The README's way, as a person types it: init, up, status, models, chat, use, pull, prune, destroy.

The tests of this file are one story: each goes on where the one before ended.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from remote.ssh import fingerprint
from tests.lab import stack as stacks
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.lab, pytest.mark.long]
FIRST, SECOND = "openai/gpt-oss-20b", "Qwen/Qwen2.5-7B-Instruct"
COMMAND = f"{sys.executable} -m trtspark --stack lab"


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("walk") / "project", lab)
    one.env["PYTHONPATH"] = str(stacks.ROOT)
    one.set("nodes", None)
    one.set("model", None)
    one.set("iterationStats", True)
    (one.folder / "known_hosts").touch()
    one.set("knownHosts", str(one.folder / "known_hosts"))
    one.before = stacks.leavings(lab)
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


@pytest.fixture
def terminal(stack):
    opened = []

    def open_one(width=80, height=24):
        opened.append(Terminal(f"walk-{len(opened)}", stack.folder, stack.env, width, height))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def run(stack, *words, ok=True, **more):
    done = subprocess.run(
        [sys.executable, "-m", "trtspark", "--stack", "lab", *words],
        cwd=stack.folder, env=stack.env, capture_output=True, text=True, timeout=240, check=False,
        **({"stdin": subprocess.DEVNULL} | more if "input" not in more else more),
    )  # fmt: skip
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done


def config(stack):
    found = yaml.safe_load((stack.folder / "Pulumi.lab.yaml").read_text())["config"]
    return {key.partition(":")[2]: value for key, value in found.items()}


def test_a_script_must_name_the_fingerprints(stack, lab):
    before = (stack.folder / "Pulumi.lab.yaml").read_text()
    words = [word for node in lab["nodes"] for word in ("--node", f"nvidia@{node['host']}")]
    done = run(stack, "init", *words, "--model", FIRST, ok=False)
    assert done.returncode == 1
    assert f"--accept-host-key {fingerprint(lab['nodes'][0]['host_key'])}" in done.stderr.replace("\n", " ")
    assert (stack.folder / "Pulumi.lab.yaml").read_text() == before


def test_init_asks_and_shows_and_writes(stack, lab, terminal):
    screen = terminal(100, 80)  # the notice about the key and the whole list
    screen.type(f"{COMMAND} init --no-find")
    screen.until("Head (")
    for node, question in zip(lab["nodes"], ("", "Worker 1"), strict=True):
        if question:
            screen.until(question)
        screen.type(f"nvidia@{node['host']}")
        shown = screen.until(f"Is that {node['host']}'s own?")
        assert fingerprint(node["host_key"]) in shown.replace("\n", "")
        screen.type("y")
    screen.until(f"{lab['nodes'][1]['host']}: the login of nvidia works.")
    screen.type("-")
    shown = screen.until("The model (number")
    assert "Fit here" in shown
    screen.type(FIRST)
    shown = screen.ends(90)
    assert "pulumi up --stack lab" in shown
    found = config(stack)
    assert found["model"] == FIRST
    keys = {node["host"]: node["host_key"] for node in lab["nodes"]}
    assert {node["host"]: node["hostKey"] for node in found["nodes"]} == keys


def test_again_it_changes_only_what_is_answered(stack):
    before = config(stack)
    done = run(stack, "init", "--no-find", "--model", SECOND)
    # The tests run without an agent, so Pulumi reads the lab's key.
    assert "ssh-add" in done.stderr
    assert "verbose logs" in done.stderr.replace("\n", " ")
    assert done.stdout.strip().endswith("pulumi up --stack lab")
    assert config(stack) == {**before, "model": SECOND}
    run(stack, "init", "--no-find", "--model", FIRST)
    assert config(stack) == before


def test_before_the_first_up_status_says_so(stack):
    done = run(stack, "status", ok=False)
    assert done.returncode == 1
    assert "nothing is deployed" in done.stdout


def test_up_and_status(stack, lab):
    stack.up()
    found = json.loads(run(stack, "status", "--json").stdout)
    assert found["model"]["served"] == FIRST
    assert found["drift"] == []
    assert [node["ranks"][0]["number"] for node in found["nodes"]] == [0, 1]
    assert all(node["gpu"]["power"] > 0 and len(node["ports"]) == 2 for node in found["nodes"])
    assert found["load"]["running"] == 0


def test_what_up_says_to_try_works_as_it_is_printed(stack):
    """Pasted from Pulumi's table, which escapes quotes: it has none, and fits a line."""
    command = stack.output("tryIt")
    assert len(command) < 60
    assert not set(command) & set("'\"\\")
    done = subprocess.run(
        command, shell=True, cwd=stack.folder, env=stack.env, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60, check=True,
    )  # fmt: skip
    assert FIRST in done.stdout


def test_an_edit_by_hand_is_seen_and_repaired(stack, lab):
    stacks.inside(lab, 0, "docker service update --quiet --env-add X=1 trtspark-lab-rank-0")
    done = run(stack, "status", "--json", ok=False)
    assert done.returncode == 1
    [line] = [line for line in json.loads(done.stdout)["drift"] if "spec" in line]
    # The command sorts the mounts as well, so Env is not all.
    assert line.startswith("rank 0 runs another spec than the last `up` gave it (Env")
    stack.pulumi("up", "--refresh", "--yes", "--skip-preview")
    assert json.loads(run(stack, "status", "--json").stdout)["drift"] == []


def test_watching_fits_a_small_terminal_and_ctrl_c_leaves_it_sane(stack, terminal):
    screen = terminal(60, 24)
    screen.type(f"{COMMAND} status --watch --interval 0.5")
    screen.until("none seen", 90)
    done = run(stack, "chat", "Who are you?", "--max-tokens", "60")
    assert FIRST in done.stdout
    assert "tokens/s" in done.stderr
    shown = screen.screen()
    assert "Endpoint" in shown.splitlines()[0]
    screen.key("C-c")
    shown = screen.ends(30)
    assert "Endpoint" in shown  # the last look stays


def test_a_talk_is_cut_by_ctrl_c_and_ended_by_ctrl_d(stack, terminal):
    screen = terminal(80, 40)
    screen.type(f"{COMMAND} chat --max-tokens 4000")
    screen.until("Ctrl-D or /exit ends")
    screen.type("Tell me a very long story")
    screen.until("simulated, running on 2 ranks")
    screen.key("C-c")
    screen.until("Cut short.")
    screen.type("/exit")
    screen.ends()
    screen.clear()
    screen.type(f"{COMMAND} chat --max-tokens 12")
    screen.until("> ")
    screen.type("Who are you?")
    screen.until("to the first token")
    screen.key("C-d")
    screen.ends()


def test_a_pipe_gets_the_answer_and_no_colours(stack):
    done = run(stack, "chat", "--max-tokens", "8", input="Hello\n")
    assert done.stdout.strip()
    assert "\x1b" not in done.stdout + done.stderr


def test_the_list_says_what_is_where(stack):
    listed = {row["id"]: row for row in json.loads(run(stack, "models", "list", "--json").stdout)}
    assert listed[FIRST]["current"]
    assert set(listed[FIRST]["cached"].values()) == {1.0}
    assert listed[FIRST]["fit"] == "fits"
    assert "MXFP4" in run(stack, "models", "show", FIRST).stdout


def test_use_needs_a_word_without_a_terminal_and_then_switches(stack):
    done = run(stack, "models", "use", SECOND, ok=False)
    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert config(stack)["model"] == FIRST
    run(stack, "models", "use", SECOND, "--yes")
    found = json.loads(run(stack, "status", "--json").stdout)
    assert found["model"] == {"configured": SECOND, "deployed": SECOND, "served": SECOND}


def test_logs_are_of_both_ranks_and_of_the_model_that_runs(stack):
    said = run(stack, "logs", "--tail", "2000").stdout
    assert SECOND in said
    for rank in ("mpi_rank: 0", "mpi_rank: 1"):
        assert rank in said


def test_the_doctor_finds_nothing_wrong(stack):
    done = run(stack, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    summary = json.loads(done.stdout)["summary"]
    assert summary["pass"] > 30
    assert (summary["warn"], summary["fail"]) == (0, 0), done.stdout


def test_prune_keeps_the_model_in_use(stack, lab):
    done = run(stack, "models", "prune", SECOND, "--yes", ok=False)
    assert "is in use" in done.stderr
    asked = run(stack, "models", "prune", FIRST, ok=False)
    assert asked.returncode == 1
    assert asked.stdout.count(FIRST) == 2
    assert FIRST in run(stack, "models", "list").stdout


def test_pull_fetches_while_the_other_serves_and_prune_takes_it_away(stack, lab):
    online = {**stack.env, "HF_ENDPOINT": lab["hub"]}
    online.pop("HF_HUB_OFFLINE", None)
    stack.env, offline = online, stack.env
    new = "Qwen/Qwen2.5-14B-Instruct"
    try:
        run(stack, "models", "pull", new)
        held = {row["id"]: row["cached"] for row in json.loads(run(stack, "models", "list", "--json").stdout)}
        assert list(held[new].values()) == [1.0, 1.0]
        assert json.loads(run(stack, "status", "--json").stdout)["model"]["served"] == SECOND
        run(stack, "models", "pull", new)  # nothing to do
    finally:
        stack.env = offline
    run(stack, "models", "prune", new, "--yes")
    held = {row["id"]: row["cached"] for row in json.loads(run(stack, "models", "list", "--json").stdout)}
    assert not any(held[new].values())
    assert set(held[SECOND].values()) == {1.0}


def test_destroy_gives_the_machines_back(stack, lab):
    stack.destroy()
    stacks.same(lab, stack.before)
