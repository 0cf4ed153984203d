"""`trtspark doctor` over fakes: what it asks in each mode, what it shows, how it ends, what it packs."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.checks import CHECKS, Finding
from cluster.errors import ConfigError, Unreachable
from cluster.live import LIVE_CHECKS, Answer
from cluster.resolution import HubUnavailable
from remote import gpu_container, live, preflight
from tests import samples
from tests.trtspark.fake_docker import FakeDocker
from tests.unit.test_live import OUTPUTS, document, facts
from trtspark.cli import app
from trtspark.doctor import archive, gather, rows
from trtspark.project import Choice

HOSTS = ["10.24.11.11", "10.24.11.12"]
TOKEN = "hf_CanaryCanaryCanaryCanary"


class FakeStack:
    """Deployed, and well, unless a test says otherwise."""

    name = "dgx"
    folder = "."

    def __init__(self, **changes: Any) -> None:
        self.settings = samples.settings(2)
        self.connections = samples.connections(2)
        self.outputs: dict[str, Any] = dict(OUTPUTS)
        self.pulumi = SimpleNamespace(workspace=SimpleNamespace(pulumi_version="3.259.0"))
        self.config = {
            "trtllm-dgx-spark:model": SimpleNamespace(value="openai/gpt-oss-120b", secret=False),
            "trtllm-dgx-spark:hfToken": SimpleNamespace(value=TOKEN, secret=True),
        }
        self.__dict__.update(changes)


@dataclasses.dataclass
class World:
    stack: FakeStack
    examined: preflight.Examination
    machines: list[dict[str, Any]]
    answer: Answer
    docker: FakeDocker
    asked: list[str] = dataclasses.field(default_factory=list)
    measured: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def measure(self, props: dict[str, Any], say: Callable[[str], None]) -> tuple[list[str], ...]:
        self.measured.append(props)
        say("TCP over every rail")
        return ["spark-1 to spark-2: RDMA 111.7 Gb/s"], [], []


@pytest.fixture
def world(monkeypatch):
    found = preflight.Examination(tuple(facts()), (samples.cache(), samples.cache()), (), ())
    one = World(
        FakeStack(),
        found,
        [document(0), document(1)],
        Answer("openai/gpt-oss-120b", completes=True),
        FakeDocker(),
    )

    def examine(_stack, _settings, _connections, _shell, hub_of, ask_registry):
        one.asked.append("hub" if hub_of is not gather._unasked else "no hub")
        one.asked += ["registry"] if ask_registry else []
        return one.examined

    def answer(_url, _model, complete):
        one.asked.append(f"completion {complete}")
        return one.answer

    one.docker.add("a" * 64, 100, ["INFO:     Application startup complete."])
    monkeypatch.setattr(Choice, "open", lambda _self: one.stack)
    monkeypatch.setattr(preflight, "examine", examine)
    monkeypatch.setattr(live, "look", lambda *_, **_more: one.machines)
    monkeypatch.setattr(live, "answer", answer)
    monkeypatch.setattr("remote.engine.connect", lambda _connection: one.docker)
    monkeypatch.setattr("remote.fabric_test.measure_all", one.measure)
    monkeypatch.setattr(gpu_container, "problem", lambda *_: "")
    return one


def run(*words: str):
    return CliRunner().invoke(app, ["doctor", *words], env={"COLUMNS": "200"})


def statuses(document: dict[str, Any], check: str) -> list[str]:
    return [one["status"] for one in document["checks"] if one["check"] == check]


def test_all_is_well(world):
    done = run("--full")
    assert done.exit_code == 0, done.output
    assert "0 warnings, 0 failures in " in done.stdout
    for check in (*CHECKS, *LIVE_CHECKS):
        assert f"{'NOTE' if check == 'fabric.test' else 'PASS'}  {check}: " in done.stdout
    assert "NOTE  fabric.test: spark-1 to spark-2: RDMA 111.7 Gb/s." in done.stdout
    assert "TCP over every rail" in done.stderr
    assert "head 10.24.11.11  spark-1; NVIDIA GB10" in done.stdout


def test_the_full_test_of_the_cables_gets_what_nccl_needs(world):
    run("--full")
    [props] = world.measured
    assert props["image"] == world.stack.outputs["image"]
    assert [wire["ranks"] for wire in props["wires"]] == [[0, 1], [0, 1]]
    assert len(props["nccl"]["environments"]) == 2


def test_quick_asks_neither_hub_nor_completion_and_reads_no_log(world):
    document = json.loads(run("--quick", "--json").stdout)
    assert sorted(world.asked) == ["completion False", "no hub"]
    assert world.docker.asked == []
    assert statuses(document, "log.known") == ["SKIP"]
    assert statuses(document, "gpu.container") == ["SKIP"]


def test_before_the_first_up(world):
    world.stack = FakeStack(outputs={})
    document = json.loads(run("--json").stdout)
    assert not document["deployed"]
    assert document["summary"]["fail"] == 0
    assert "completion True" not in world.asked
    for check in LIVE_CHECKS:
        assert statuses(document, check) == ["SKIP"]


def test_the_exit_code_is_the_number_of_failures(world):
    findings = (
        Finding("FAIL", HOSTS[1], "no GPU found.", "Reboot.", "gpu.found"),
        Finding("WARN", "", "the ends differ.", "Set one.", "fabric.mtu"),
        Finding("NOTE", HOSTS[0], "Docker will restart.", "", "docker.restart"),
    )
    world.examined = dataclasses.replace(world.examined, findings=findings)
    world.answer = Answer(said="connection refused")
    done = run()
    assert done.exit_code == 2
    assert "  FAIL  gpu.found: no GPU found.\n        fix: Reboot.\n" in done.stdout
    assert "  WARN  fabric.mtu: the ends differ.\n        fix: Set one.\n" in done.stdout
    assert "  NOTE  docker.restart: Docker will restart.\n" in done.stdout
    assert done.stdout.index("worker-1 10.24.11.12") < done.stdout.index("gpu.found")
    assert "1 warning, 2 failures" in done.stdout


def test_more_failures_than_an_exit_code_holds():
    many = [rows.Row("x.y", "FAIL", "", "f")] * 300
    assert rows.Report("s", "quick", True, HOSTS, {}, many).exit_code == 125


def test_a_node_that_is_not_reached_leaves_the_others_judged(world):
    error = Unreachable("nvidia@10.24.11.12", "it does not answer on port 22.", "Is it on?")
    world.examined = dataclasses.replace(
        world.examined, facts=world.examined.facts[:1], caches=world.examined.caches[:1], errors=(error,)
    )
    world.machines[1] = {}
    done = run("--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    reached = {one["node"]: one["status"] for one in document["checks"] if one["check"] == "node.reached"}
    assert reached == {HOSTS[0]: "PASS", HOSTS[1]: "FAIL"}
    assert statuses(document, "gpu.found") == ["PASS"]
    assert statuses(document, "fabric.mtu") == ["SKIP"]
    assert statuses(document, "swarm.ready") == ["SKIP"]
    assert document["nodes"][1]["machine"] == ""


def test_a_host_key_that_is_not_known_is_a_failure_and_nothing_is_dialled(world):
    class NoKey(FakeStack):
        connections = property(
            lambda _self: (_ for _ in ()).throw(
                Unreachable(HOSTS[1], "its host key is not known.", "Log in.")
            ),
            lambda _self, _value: None,
        )

    world.stack = NoKey()
    done = run("--json")
    assert done.exit_code == 1
    assert world.asked == []
    assert statuses(json.loads(done.stdout), "node.reached") == ["FAIL", "SKIP"]


def test_without_the_hub_a_quick_look_is_no_failure(world):
    unavailable = HubUnavailable("The Hub was not asked. Without it x must be on every node.")
    world.examined = dataclasses.replace(world.examined, errors=(unavailable,))
    assert run("--quick").exit_code == 0
    done = run("--json")
    assert done.exit_code == 1
    assert statuses(json.loads(done.stdout), "model.resolved") == ["FAIL"]


@pytest.mark.parametrize(
    ("part", "kept", "left_out"),
    [
        ("--head", ("", HOSTS[0]), "endpoint.answers"),
        ("--worker", ("", HOSTS[1]), "endpoint.answers"),
        ("--swarm", ("", *HOSTS), "gpu.found"),
    ],
)
def test_one_part_of_it(world, part, kept, left_out):
    checks = json.loads(run("--json", part).stdout)["checks"]
    assert checks
    assert {one["node"] for one in checks} <= set(kept)
    assert left_out not in {one["check"] for one in checks}


@pytest.mark.parametrize("words", [("--quick", "--full"), ("--head", "--swarm")])
def test_what_excludes_each_other_is_refused(world, words):
    done = run(*words)
    assert done.exit_code == 2
    assert world.asked == []


def test_the_json_is_what_its_documentation_says(world):
    document = json.loads(run("--json").stdout)
    assert set(document) == {"format", "stack", "mode", "deployed", "nodes", "summary", "checks"}
    assert set(document["summary"]) == {"pass", "note", "warn", "fail", "skip"}
    assert set(document["checks"][0]) == {"check", "status", "node", "found", "fix", "area"}
    assert sum(document["summary"].values()) == len(document["checks"])


def test_a_report_has_no_secret_of_the_configuration(world, tmp_path):
    world.docker.there["a" * 64]["lines"].append(f"error: token {TOKEN} refused")
    path = tmp_path / "report.tar.gz"
    done = run("--report", str(path))
    assert done.exit_code == 0, done.output
    with tarfile.open(path) as packed:
        texts = {name: packed.extractfile(name).read().decode() for name in packed.getnames()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert "report/logs/rank-0/aaaaaaaaaaaa.log" in texts
    assert "refused" in texts["report/logs/rank-0/aaaaaaaaaaaa.log"]
    assert f"report/nodes/{HOSTS[0]}/live.json" in texts
    assert not [name for name, text in texts.items() if TOKEN in text or facts()[0].gpu_uuid in text]
    for name, text in texts.items():
        assert not name.endswith(".json") or json.loads(text) is not None


def test_a_report_overwrites_nothing(world, tmp_path):
    path = tmp_path / "mine.tar.gz"
    path.write_text("mine")
    done = run("--report", str(path))
    assert isinstance(done.exception, ConfigError)
    assert path.read_text() == "mine"
    assert world.asked == []
    with pytest.raises(ConfigError, match="cannot be written"):
        archive.pack(tmp_path / "no" / "folder.tar.gz", {"a": "b"})
