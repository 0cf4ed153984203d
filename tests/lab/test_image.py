"""Other images on the simulated pair: without an ssh client, without the server, with Open MPI 5.

The tests of this file are one story: each goes on where the one before ended.
"""

from __future__ import annotations

import time

import pytest
import requests

from tests.lab import stack as stacks
from tests.lab.sparks import fresh
from tests.lab.sparks import lab as lab_command

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-image"
NO_SSH, NO_SSH_5, NO_SERVER, OPENMPI_5 = (
    "1.3.0rc5-nossh",
    "1.3.0rc27-nossh",
    "1.3.0rc5-noserve",
    "1.3.0rc27",
)
KILL_THE_RANK = """docker exec $(docker ps -q --filter label=trtspark.rank=1) bash -c '
for each in /proc/[0-9]*; do
  ! grep -qz ^OMPI_COMM_WORLD_RANK= $each/environ 2>/dev/null || kill -9 ${each#/proc/}
done'"""
RANK_0 = "docker ps --quiet --no-trunc --filter label=trtspark.rank=0"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    images = [word for each in (NO_SSH, NO_SSH_5, NO_SERVER, OPENMPI_5) for word in ("--image", each)]
    with fresh(NAME, "--nodes", "2", *stacks.PREPARED, *images) as lab:
        one = stacks.create(tmp_path_factory.mktemp("image") / "project", lab)
        one.before = stacks.leavings(lab)
        yield one
        one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def use(stack, version: str) -> None:
    stack.set("image", stack.lab["images"][version])


def rank_0(stack) -> str:
    return stacks.inside(stack.lab, 0, RANK_0).strip()


def in_rank_0(stack, command: str) -> str:
    return stacks.inside(stack.lab, 0, f"docker exec $({RANK_0}) bash -c '{command}'").strip()


def answer(stack) -> str:
    """What both nodes said together; AssertionError when nothing serves."""
    body = {
        "model": "openai/gpt-oss-120b",
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 64,
    }
    got = requests.post(
        f"http://{stack.lab['nodes'][0]['host']}:8355/v1/chat/completions", json=body, timeout=30
    )
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["message"]["content"]).replace(" ", "")


def answered_by_both(stack) -> bool:
    try:
        text = answer(stack)
    except (requests.RequestException, AssertionError):
        return False
    return "spark-1" in text and "spark-2" in text


def code_of(stack, container: str) -> int:
    """The exit code of a container of rank 0, by Docker's memory of its end: Swarm may have removed it."""
    died = f"docker events --since 10m --until 0s --filter container={container} --filter event=die"
    codes = f"{died} --format '{{{{.Actor.Attributes.exitCode}}}}'"
    stacks.until(lambda: stacks.inside(stack.lab, 0, codes).split(), 60, "its end")
    return int(stacks.inside(stack.lab, 0, codes).split()[-1])


def log_of(stack, container: str) -> str:
    return stacks.inside(stack.lab, 0, f"docker logs {container} 2>&1")


def test_an_image_without_ssh_is_served_by_the_heads_own_client(stack):
    use(stack, NO_SSH)
    stack.up()
    assert in_rank_0(stack, "command -v ssh || echo none") == "none"
    assert answered_by_both(stack)
    processes = stacks.inside(stack.lab, 0, "ps -eo args")
    assert "/opt/trtspark/ssh/current/ld.so --library-path" in processes


def test_the_image_is_looked_into_once(stack):
    unchanged = stack.up().counts
    assert set(unchanged) == {"unchanged"}, unchanged
    assert "trtspark.image-check" not in stacks.inside(stack.lab, 0, "docker ps --all --format '{{.Labels}}'")


def test_a_lost_client_is_drift_and_comes_back(stack):
    stacks.inside(stack.lab, 0, "rm /home/nvidia/.trtspark/ssh-lab/current")
    shown = stack.pulumi("refresh", "--yes", "--skip-preview", "--diff").text
    assert "missing" in shown
    assert stack.up().counts["updated"] == 1
    stacks.inside(stack.lab, 0, "test -x /home/nvidia/.trtspark/ssh-lab/current/ssh")
    assert set(stack.up().counts) == {"unchanged"}


def test_an_image_without_the_server_is_refused_and_the_old_one_serves_on(stack):
    before = rank_0(stack)
    use(stack, NO_SERVER)
    run = stack.up(ok=False)
    assert run.code != 0
    assert "1.3.0rc5-noserve" in run.text or "@sha256:" in run.text
    assert "lacks trtllm-serve" in run.text
    assert rank_0(stack) == before
    assert answered_by_both(stack)


def test_another_c_library_and_openmpi_5(stack):
    """Debian 13's image, the client and its C library from the head's Debian 12."""
    use(stack, NO_SSH_5)
    stack.up()
    assert "(Open MPI) 5." in in_rank_0(stack, "mpirun --version")
    assert answered_by_both(stack)


def test_openmpi_5_with_its_own_client(stack):
    use(stack, OPENMPI_5)
    stack.up()
    assert answered_by_both(stack)
    words = stacks.inside(stack.lab, 0, "ps -eo args | grep -E '[m]pirun|[p]rterun'")
    assert "--prtemca oob_tcp_keepalive_time 4" in words


def test_openmpi_5_knows_every_option_that_it_is_given(stack):
    """Unknown ones are ignored without a word."""
    known = in_rank_0(stack, "prte_info --all 2>&1")
    command = stacks.inside(stack.lab, 0, "ps -eo args | grep -E '[m]pirun|[p]rterun' | head -n 1").split()
    names = [command[i + 1] for i, word in enumerate(command) if word == "--prtemca"]
    assert len(names) >= 6
    # `plm` itself is a framework: its components are listed as such.
    assert [name for name in names if f'"{name}"' not in known and name != "plm"] == []


def test_openmpi_5_a_killed_rank_ends_the_launch(stack):
    container, started = rank_0(stack), time.monotonic()
    stacks.inside(stack.lab, 1, KILL_THE_RANK)
    assert code_of(stack, container) != 0
    took = time.monotonic() - started
    print(f"OpenMPI 5, rank killed: exit code {code_of(stack, container)} after {took:.1f} s")
    assert took < 30, log_of(stack, container)[-2000:]
    stacks.until(lambda: answered_by_both(stack), 90, "both nodes to serve again")


def test_openmpi_5_a_worker_without_power_is_noticed(stack):
    container, started = rank_0(stack), time.monotonic()
    lab_command("power", "off", "spark-2", name=NAME)
    code = code_of(stack, container)
    took = time.monotonic() - started
    print(f"OpenMPI 5, worker's power cut: exit code {code} after {took:.1f} s")
    assert took < 40, log_of(stack, container)[-2000:]
    lab_command("power", "on", "spark-2", name=NAME)
    stacks.until(lambda: answered_by_both(stack), 120, "both nodes to serve again")


def test_openmpi_5_stops_when_asked(stack):
    container = rank_0(stack)
    stack.set("running", False)
    stack.up()
    assert code_of(stack, container) == 0
    assert stacks.inside(stack.lab, 1, "docker ps --quiet --filter label=trtspark.rank").strip() == ""
    stack.set("running", None)
    stack.up()
    assert answered_by_both(stack)


def test_destroy_takes_the_client_away(stack):
    stack.destroy()
    stacks.same(stack.lab, stack.before)
