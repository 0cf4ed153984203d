"""Threads that may not use every core: read from a folder as procfs, judged, and told."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from cluster import affinity
from remote import live, node
from remote.node import affinity as reader
from remote.ssh import Result
from tests import samples

CONTAINER = "ab12" * 16


def process(root: Path, pid: int, *cpus: str, words: str = "sleep", container: str = CONTAINER) -> None:
    folder = root / str(pid)
    for thread, allowed in enumerate(cpus):
        status = folder / "task" / str(pid + thread) / "status"
        status.parent.mkdir(parents=True)
        status.write_text(f"Name:\t{words.split()[0]}\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n")
    (folder / "cgroup").write_text(f"0::/system.slice/docker-{container}.scope\n")
    (folder / "cmdline").write_bytes(words.replace(" ", "\0").encode())
    (folder / "status").write_text(f"Name:\t{words.split()[0]}\n")


@pytest.fixture
def confined(tmp_path):
    """Rank 0's container after TensorRT-LLM has freed its main thread."""
    process(tmp_path, 100, "0-19", words="docker-init")
    process(tmp_path, 200, "0-19", "0", "0", words="python3 -m tensorrt_llm.llmapi.mgmn_leader_node")
    process(tmp_path, 300, "0", words="python3 rank0.pyz serve trtllm-serve some/model --secret x")
    process(tmp_path, 400, "3", words="someone-else", container="cd34" * 16)
    (tmp_path / "uptime").write_text("1 1")
    (tmp_path / "500").mkdir()  # it ended while it was looked at
    return tmp_path


def test_every_thread_of_a_container_is_read_and_no_other(confined):
    found = reader.read([CONTAINER, "c"], str(confined))
    assert found == {
        CONTAINER: [
            {"name": "docker-init", "cpus": {"0-19": 1}},
            {"name": "mgmn_leader_node", "cpus": {"0-19": 1, "0": 2}},
            {"name": "trtllm-serve", "cpus": {"0": 1}},
        ]
    }


def test_what_the_kernel_says_of_a_real_thread(tmp_path):
    """One thread of this process on one core, under a cgroup's name."""
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        pytest.skip("one core cannot show it")
    bound, ready = threading.Event(), threading.Event()

    def work() -> None:
        os.sched_setaffinity(0, {min(every)})
        ready.set()
        bound.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(10)
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "cgroup").write_text(f"0::/docker/{CONTAINER}")
    for name in ("task", "status", "cmdline"):
        (folder / name).symlink_to(f"/proc/{os.getpid()}/{name}")
    try:
        [one] = reader.read([CONTAINER], str(tmp_path))[CONTAINER]
    finally:
        bound.set()
        thread.join()
    assert one["cpus"][str(min(every))] == 1
    assert affinity.confined([one]).startswith("1 of ")


def test_confined_threads_are_counted_with_where_and_whose(confined):
    [processes] = reader.read([CONTAINER], str(confined)).values()
    assert affinity.confined(processes) == (
        "3 of 5 threads may only run on CPU 0, not on all of 0-19 (mgmn_leader_node, trtllm-serve)"
    )


@pytest.mark.parametrize(
    "processes",
    [
        [],
        [{"name": "a", "cpus": {"0-19": 7}}, {"name": "b", "cpus": {"0-19": 1}}],
        [{"name": "a", "cpus": {"4": 7}}],  # the container itself has one
        [{"name": "a", "cpus": {}}, {"name": "b"}],
        [{"name": "a", "cpus": {"all": 1, "": 1, "0-": 1, "0": "many"}}, {"name": "b", "cpus": {"0-19": 1}}],
    ],
)
def test_nothing_is_told_without_a_reason(processes):
    assert affinity.confined(processes) == ""


@pytest.mark.parametrize(
    ("text", "count"), [("0", 1), ("0-19", 20), ("0-3,7,9-10", 7), ("", 0), ("9-1", 0), ("1" * 2000, 0)]
)
def test_cpu_lists(text, count):
    assert affinity.count_of(text) == count


class Answering:
    """A node whose rank 1 is confined, or that answers nothing."""

    def __init__(self, connection):
        self.host = connection.host

    def run(self, _command, **_more):
        if self.host == "10.24.11.11":
            return Result(255, "", "ssh: connection reset")
        processes = [{"name": "mgmn_worker_node", "cpus": {"0-19": 1, "0": 30}}]
        one = {"Id": CONTAINER, "State": "running", "Labels": {"trtspark.rank": "1"}, "processes": processes}
        return Result(0, json.dumps({"live": {"containers": [{**one, "digests": []}]}}), "")


def test_the_gate_warns_and_a_node_without_an_answer_is_no_error():
    [text] = live.confined("dgx", "x:1", samples.connections(2), Answering)
    assert text.startswith(
        "10.24.11.12: rank 1: 30 of 31 threads may only run on CPU 0, not on all of 0-19 (m"
    )
    assert "--bind-to none" in text


def test_a_session_sends_what_its_program_takes_from_others():
    """As `trtspark status` does; without Docker there are no ranks."""
    first = node.session("vitals", {"stack": "dgx", "manager": False})
    done = subprocess.run(
        ["sh", "-c", node.SESSION_COMMAND],
        input=first + "\n\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ["ranks" in json.loads(line) for line in done.stdout.splitlines()] == [True, True]
