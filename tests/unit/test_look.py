"""The look at all nodes: side by side, and every problem in one error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster.errors import TrtSparkError, Unreachable
from cluster.service_spec import PAUSED, SILENT
from remote import node
from remote.preflight import examine, look
from remote.ssh import Connection, Result
from tests import samples
from tests.checkpoints import config, tensors


class FakeShells:
    """A shell per node that answers with what a healthy machine of that number would say."""

    def __init__(self, count: int, **answers: Callable[[], Result]) -> None:
        hosts = [connection.host for connection in samples.connections(count)]
        self.documents = dict(zip(hosts, samples.documents(count), strict=True))
        self.answers = answers
        self.clocks: list[str] = []
        """Hosts whose document's own time counts."""
        self.commands: list[str] = []
        self.closed: list[str] = []
        self.shape: dict[str, Any] | None = None
        self.shapes = 0
        self.before: Callable[[], Any] = lambda: None

    def __call__(self, connection: Connection) -> Any:
        shells = self

        class Shell:
            def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
                if "model_shape" in command:
                    shells.shapes += 1
                    return Result(0, json.dumps({"model_shape": shells.shape}), "")
                shells.commands.append(command)
                shells.before()
                number = connection.host.rsplit(".", 1)[-1]
                return shells.answers.get(f"spark{number}", lambda: shells.healthy(connection.host))()

            def close(self) -> None:
                shells.closed.append(connection.host)

        return Shell()

    def healthy(self, host: str, **cache: Any) -> Result:
        now = {"time": time.time(), "time_after": time.time()} if host not in self.clocks else {}
        answer = {"probe": {**self.documents[host], **now}, "hub_cache": samples.cache(**cache)}
        return Result(0, json.dumps(answer), "")


def fails(error: TrtSparkError) -> Callable[[], Result]:
    def answer() -> Result:
        raise error

    return answer


def run(shells: FakeShells, count: int = 2, **changes: Any) -> Any:
    return look("dgx", samples.settings(count, **changes), samples.connections(count), shells)


def test_head_first():
    found = run(FakeShells(3), 3)
    assert [facts.hostname for facts in found.facts] == ["spark-1", "spark-2", "spark-3"]
    assert [cache["commit"] for cache in found.caches] == [samples.COMMIT] * 3


def test_nodes_are_asked_side_by_side_and_once_each():
    shells = FakeShells(4)
    together = threading.Barrier(4, timeout=10)
    shells.before = together.wait
    run(shells, 4)
    assert len(shells.commands) == 4


def test_every_node_that_fails_is_in_the_one_error():
    shells = FakeShells(
        3,
        spark11=fails(Unreachable("nvidia@10.24.11.11", "nothing listens on port 22.", "Start sshd.")),
        spark13=lambda: Result(127, "", "sh: 1: python3: not found\n"),
    )
    with pytest.raises(TrtSparkError) as caught:
        run(shells, 3)
    first, second = str(caught.value).splitlines()
    assert first == "nvidia@10.24.11.11: nothing listens on port 22. Start sshd."
    assert second.startswith("nvidia@10.24.11.13: the probe failed: sh: 1: python3: not found.")


def test_a_machine_that_is_not_prepared_is_named():
    shells = FakeShells(2)
    shells.documents["10.24.11.12"]["commands"]["nvidia-smi"] = {"rc": 127, "out": "", "err": ""}
    with pytest.raises(TrtSparkError, match=r"10\.24\.11\.12: nvidia-smi is not there"):
        run(shells)


def test_a_refused_nodes_login_is_forgotten_so_that_new_groups_count():
    shells = FakeShells(2)
    denied = {"rc": 1, "out": "", "err": "/var/run/docker.sock: Permission denied"}
    shells.documents["10.24.11.12"]["docker"]["info"] = denied
    with pytest.raises(TrtSparkError, match="usermod"):
        run(shells)
    assert shells.closed == ["10.24.11.12"]


def test_what_does_not_fit_together_is_found_too():
    shells = FakeShells(2)
    shells.answers["spark12"] = lambda: shells.healthy("10.24.11.12", commit="f" * 40)
    with pytest.raises(TrtSparkError, match="different revisions"):
        run(shells, downloadWeights=False)


def test_all_problems_of_the_preflight_a_line_each():
    shells = FakeShells(2)
    for document in shells.documents.values():
        document["commands"]["sudo"]["rc"] = 1
    with pytest.raises(TrtSparkError) as caught:
        run(shells)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["10.24.11.11", "10.24.11.12"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Welcome!\n", ""),
        ("no line's end", ""),
        ("\n", ""),
        ('{"json": 1}\n', ""),
        ("", "Bye {\n"),
        ("", "{ }}\n"),
    ],
)
def test_a_login_script_that_talks_does_not_break_the_answer(before, after):
    """A shell's start-up file may print before the program does, and a trap after it. What comes before would
    break Docker's connection, so it is refused, once the answer is understood.
    """
    shells = FakeShells(1)
    healthy = shells.healthy("10.24.11.11")
    shells.answers["spark11"] = lambda: Result(0, f"{before}\n{healthy.out}\n{after}", "")
    found = examine("dgx", samples.settings(1), samples.connections(1), shells)
    assert [facts.hostname for facts in found.facts] == ["spark-1"]
    failed = [one.check for one in found.findings if one.level == "FAIL"]
    assert failed == (["access.login-output"] if before else [])


def test_programs_print_their_answer_on_a_line_of_its_own():
    for text in (node.program(probe="look"), node.bundle(["stop"], "main", {})):
        assert 'print("\\n" + json.dumps(answer' in text


@pytest.mark.parametrize("out", ["", "This account is for backups only.\n"])
def test_a_login_that_runs_something_else_is_named(out):
    with pytest.raises(TrtSparkError, match=r"nvidia@10\.24\.11\.11: the probe gave no answer"):
        run(FakeShells(1, spark11=lambda: Result(0, out, "")), 1)


def test_all_problems_of_all_machines_at_once():
    """A machine with three faults is not looked at three times."""
    shells = FakeShells(2)
    first, second = shells.documents.values()
    first["commands"]["nvidia-smi"] = {"rc": 6, "out": "No devices were found\n", "err": ""}
    first["files"]["/etc/docker/daemon.json"] = "{"
    second["docker"]["program"] = False
    second["ssh_connection"] = "fe80::1%enP7s7 50000 fe80::2%enP7s7 22"
    with pytest.raises(TrtSparkError) as caught:
        run(shells)
    starts = sorted(line.partition(": ")[2].partition(" ")[0] for line in str(caught.value).splitlines())
    assert starts == ["/etc/docker/daemon.json", "Docker", "no", "ssh"]


def test_where_one_cannot_be_reached_the_others_are_still_judged():
    shells = FakeShells(
        2, spark12=fails(Unreachable("nvidia@10.24.11.12", "there is no route to it.", "Is it on?"))
    )
    shells.documents["10.24.11.11"]["docker"]["program"] = False
    with pytest.raises(TrtSparkError) as caught:
        run(shells)
    first, second = str(caught.value).splitlines()
    assert first.startswith("nvidia@10.24.11.12: there is no route to it.")
    assert second.startswith("10.24.11.11: Docker is not installed.")
    found = examine("dgx", samples.settings(2), samples.connections(2), shells)
    assert [facts.hostname for facts in found.facts] == ["spark-1"]
    assert [one.check for one in found.findings] == ["docker.answers"]


def test_none_reached():
    gone = fails(Unreachable("x", "there is no route to it.", "Is it on?"))
    found = examine("dgx", samples.settings(1), samples.connections(1), FakeShells(1, spark11=gone))
    assert (found.facts, found.findings, len(found.errors)) == ((), (), 1)


def test_an_answer_of_another_version_is_an_error_of_that_node():
    shells = FakeShells(2)
    shells.documents["10.24.11.12"]["format"] = 1
    with pytest.raises(TrtSparkError, match=r"10\.24\.11\.12: the probe's answer has format 1"):
        run(shells)


def test_warnings_do_not_stop():
    shells = FakeShells(2)
    for document in shells.documents.values():
        document["files"]["/etc/dgx-release"] = None
    warnings = [line for line in run(shells).warnings if "Docker will restart" not in line]
    assert [line.partition(":")[0] for line in warnings] == ["10.24.11.11", "10.24.11.12"]


def test_the_clock_is_compared_with_the_time_around_the_question():
    shells = FakeShells(1)
    now = time.time()
    shells.clocks = ["10.24.11.11"]
    shells.documents["10.24.11.11"] |= {"time": now - 500, "time_after": now - 499.9}
    assert run(shells, 1).facts[0].clock_offset == pytest.approx(-500, abs=60)


def test_the_probe_is_told_where_to_look():
    shells = FakeShells(1)
    run(shells, 1, port=9000, hfCache="/srv/hf")
    assert '"probe": {"hf_cache": "/srv/hf", "image": "nvcr.io/' in shells.commands[0]
    assert ':1.3.0rc5", "port": 9000}' in shells.commands[0]


def test_the_model_is_known_from_the_nodes_where_the_hub_is_not_asked():
    shells = FakeShells(2)
    shells.shape = {"config": config("gpt-oss-120b"), "tensors": tensors(config("gpt-oss-120b"))}
    found = run(shells)
    assert found.revision == samples.COMMIT
    said, fits = (note for note in found.notes if "openai/gpt-oss-120b" in note)
    assert said.startswith("The Hub is not asked, as HF_HUB_OFFLINE is set. openai/gpt-oss-120b is used as")
    assert fits.startswith("Memory: openai/gpt-oss-120b fits: 33.0 GiB weights, ")
    assert shells.shapes == 1
    run(shells)
    assert shells.shapes == 1, "a commit's shape is remembered"


def test_a_model_that_does_not_fit_is_refused_before_anything_is_touched():
    shells = FakeShells(1)
    dense = config("Llama-3.1-70B-Instruct")
    shells.shape = {"config": dense, "tensors": tensors(dense)}
    with pytest.raises(TrtSparkError, match=r"10\.24\.11\.11: .* does not fit in memory: 131\.4 GiB weights"):
        run(shells, 1)
    assert run(shells, 1, allowOvercommit=True).warnings


def test_a_shape_that_cannot_be_had_is_said_and_stops_nothing():
    assert run(FakeShells(2)).notes[-1].startswith("Memory: not estimated")


def test_without_hub_and_files_each_node_says_what_is_missing():
    shells = FakeShells(2)
    shells.answers["spark12"] = lambda: shells.healthy("10.24.11.12", commit=None)
    with pytest.raises(TrtSparkError) as caught:
        run(shells, downloadWeights=False)
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "The Hub is not asked, as downloadWeights is false. Without it openai/gpt-oss-120b"
    )
    assert second == "10.24.11.12: model openai/gpt-oss-120b is not in /home/nvidia/.cache/huggingface."


def test_a_stopped_stack_needs_no_model():
    shells = FakeShells(1)
    shells.answers["spark11"] = lambda: shells.healthy("10.24.11.11", commit=None)
    assert run(shells, 1, running=False).revision == ""


def served(shells: FakeShells, state: str = "running", wanted: str = "abc") -> FakeShells:
    """Rank 0 runs on the head, as its Swarm wants it."""
    labels = {"trtspark.stack": "dgx", "trtspark.rank": "0", "trtspark.spec": "abc", "trtspark.port": "8355"}
    document = next(iter(shells.documents.values()))
    one = {"Id": "c", "Image": "i", "Labels": labels, "Service": "s", "RestartPolicy": "", "State": state}
    document["docker"] |= {
        "containers": [one],
        "services": [{"labels": {**labels, "trtspark.spec": wanted}, "replicas": 1}],
    }
    return shells


def listened(shells: FakeShells, said: str, **changes: Any) -> tuple[Any, list[str]]:
    asked: list[str] = []

    def silence(url: str) -> str:
        asked.append(url)
        return said

    settings = samples.settings(2, **changes)
    return look("dgx", settings, samples.connections(2), shells, silence=silence), asked


@pytest.mark.parametrize(
    ("said", "spec", "warning"),
    [
        ("", "abc", ""),
        ("no answer in time", "abc", "it is busy, or it hangs"),
        ("HTTP 400: CUDA error", SILENT, "does not answer (HTTP 400: CUDA error), although rank 0 runs"),
    ],
)
def test_the_server_that_should_serve_is_asked(said, spec, warning):
    """At the port that it was started with, whatever is configured now."""
    found, asked = listened(served(FakeShells(2)), said)
    assert asked == [f"http://{found.facts[0].address}:8355"]
    assert found.facts[0].specs == {("dgx", "0"): spec}
    silent = [text for text in found.warnings if ":8355 " in text]
    assert len(silent) == bool(warning)
    assert all(warning in text for text in silent)


@pytest.mark.parametrize("change", [{"state": "paused"}, {"wanted": "other"}, {}])
def test_a_server_that_need_not_answer_is_not_asked(change):
    """Paused, about to be replaced, or not configured to run."""
    shells = served(FakeShells(2), **change)
    found, asked = listened(shells, "dead", running=bool(change))
    assert asked == []
    assert found.facts[0].specs == {("dgx", "0"): PAUSED if "state" in change else "abc"}


def test_where_nothing_runs_nothing_is_asked():
    assert listened(FakeShells(2), "dead")[1] == []
