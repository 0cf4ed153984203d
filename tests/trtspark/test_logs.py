"""`trtspark logs` against a docker client that answers as the Engine does."""

from __future__ import annotations

import time

import pytest
import typer
from typer.testing import CliRunner

from cluster.errors import ConfigError
from remote import logs as remote_logs
from tests import samples
from tests.trtspark.fake_docker import FakeDocker
from trtspark.cli import app
from trtspark.commands import logs
from trtspark.project import Choice

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 48.00 MiB."


class FakeStack:
    name = "dgx"
    connections = samples.connections(2)

    def __init__(self, hosts: int = 2) -> None:
        self.outputs = {"nodes": [f"10.24.11.1{n} (spark-{n}, NVIDIA GB10)" for n in range(1, hosts + 1)]}


@pytest.fixture
def docker(monkeypatch):
    client = FakeDocker()
    monkeypatch.setattr(Choice, "open", lambda _self: FakeStack())
    monkeypatch.setattr("remote.engine.connect", lambda _connection: client)
    return client


def run(*words: str):
    return CliRunner().invoke(app, ["logs", *words])


def test_ranks_side_by_side_with_what_is_known_beneath(docker):
    docker.add("a" * 64, 100, ["[trtspark] starting: mpirun", f"[1,1]<stdout>: {OOM}", OOM])
    done = run()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("--- container aaaaaaaaaaaa of ")
    assert lines[0].endswith(" runs")
    assert lines[1] == " [0] [trtspark] starting: mpirun"
    assert lines[2] == f"![1] {OOM}"
    assert lines[3].startswith("      ^ out of memory: lower gpuMemoryFraction")
    assert len([line for line in lines if "^" in line]) == 1, "explained once"


def test_one_rank_alone(docker):
    docker.add("a" * 64, 100, ["[trtspark] starting: mpirun", "x [TRT-LLM] [RANK 1] [I] Loading"])
    assert run("--rank", "1").stdout.splitlines()[1:] == [" [1] x [TRT-LLM] [RANK 1] [I] Loading"]


def test_health_checks_that_went_well_are_not_shown_and_do_not_count(docker):
    health = 'INFO:     10.0.0.1:1 - "GET /health HTTP/1.1" 200 OK'
    bad = 'INFO:     10.0.0.1:1 - "GET /health HTTP/1.1" 503 Service Unavailable'
    docker.add("a" * 64, 100, ["INFO:     first", *[health] * 50, bad])
    assert run("--tail", "2").stdout.splitlines()[1:] == [" [0] INFO:     first", f" [0] {bad}"]
    assert run("--tail", "2", "--health").stdout.count("/health") == 2


def test_when_nothing_runs_the_last_that_ended_are_shown_with_why(docker):
    docker.add("a" * 64, 100, ["first"], code=1)
    docker.add("b" * 64, 200, ["second"], code=75)
    text = run().stdout
    assert text.index("first") < text.index("second")
    assert "ended with exit code 75" in text
    assert "^ exit code 75: no answer within readyTimeout: `pulumi config set readyTimeout" in text


def test_nothing_at_all_is_said(docker):
    done = run()
    assert isinstance(done.exception, ConfigError)
    assert "has no container of rank 0" in str(done.exception)


def test_the_newest_that_runs_is_the_one(docker):
    docker.add("a" * 64, 100, ["old"], code=0)
    docker.add("b" * 64, 200, ["now"])
    text = run().stdout
    assert "now" in text
    assert "old" not in text
    text = run("--previous").stdout
    assert text.index("old") < text.index("now")


def test_a_progress_bar_is_shown_as_it_ended(docker):
    docker.add("a" * 64, 100, ["Loading: 10%\rLoading: 100%"])
    assert run().stdout.splitlines()[1].endswith(" Loading: 100%")
    assert "10%\r" not in run().stdout


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_since_is_a_time_ago(text, ago):
    assert logs.when(text) == pytest.approx(time.time() - ago, abs=30)


def test_since_is_a_date_and_nothing_else():
    assert logs.when("2026-11-25T08:00:00+00:00") == 1_795_593_600
    with pytest.raises(typer.BadParameter, match="10m, 2h, 1d or a date"):
        logs.when("yesterday")


def followed(docker: FakeDocker, count: int, **more) -> list[str | remote_logs.Switched]:
    found: list[str | remote_logs.Switched] = []
    for one in remote_logs.follow(docker, "dgx", poll=0, **more):
        found.append(one)
        if len(found) == count:
            break
    return found


def test_following_goes_on_with_the_next_container(docker):
    docker.add("a" * 64, 100, ["one", "two"])

    def dies() -> None:
        docker.there["a" * 64]["code"] = 74
        docker.add("b" * 64, 200, ["three"])

    docker.at_end["a" * 64] = dies
    assert followed(docker, 4) == ["one", "two", remote_logs.Switched("b" * 64, 74), "three"]


def test_following_goes_on_where_a_connection_broke(docker):
    docker.add("a" * 64, 100, ["one", "two"])
    docker.at_end["a" * 64] = lambda: docker.there["a" * 64]["lines"].append("three")
    assert followed(docker, 3, tail=10) == ["one", "two", "three"]
    assert docker.asked[1]["tail"] == "all"
    assert docker.asked[1]["since"] > docker.asked[0].get("since", 0)


def test_following_waits_for_a_server_that_does_not_run_yet(docker):
    looked = []

    def stop() -> bool:
        looked.append(1)
        if len(looked) == 3:
            docker.add("a" * 64, 100, ["up"])
        return False

    assert followed(docker, 1, stop=stop) == ["up"]
    assert len(looked) >= 3


def test_a_container_that_is_removed_is_no_error(docker):
    docker.add("a" * 64, 100, ["one"])

    def removed() -> None:
        docker.there.clear()
        docker.add("b" * 64, 200, ["two"])

    docker.at_end["a" * 64] = removed
    assert followed(docker, 3) == ["one", remote_logs.Switched("b" * 64, None), "two"]


def test_ctrl_c_ends_following_without_a_word(docker, monkeypatch):
    def interrupted(*_words, **_more):
        yield "a line"
        raise KeyboardInterrupt

    docker.add("a" * 64, 100, [])
    monkeypatch.setattr(remote_logs, "follow", interrupted)
    done = run("--follow")
    assert done.exit_code == 130
    assert "Aborted" not in done.output


def test_a_line_without_an_end_is_cut(monkeypatch):
    monkeypatch.setattr(remote_logs.limited, "MOST_LINE", 100)

    class Endless:
        def logs(self, *_words, **_more):
            return [b"2026-01-01T00:00:00Z " + b"x" * 50] + [b"y" * 50] * 99 + [b"\nstamp next\n"]

    [(_, cut), (_, after)] = remote_logs._stream(Endless(), "id", None, None)
    assert len(cut) <= 150
    assert after == "next"
