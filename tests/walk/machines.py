"""Machines in memory for the walk: Docker engines with a live Swarm, home folders, and faults at any step.

Simulated: Docker (tests/providers/fake_swarm.py), the ssh session, the look before the plan (facts from the
engines), and the endpoint, which answers where all ranks run what belongs together and rank 0's key opens
every worker. Real: the providers, what they call in remote/ and remote/node, NodeDocker's telling of errors,
and the checks of a preview that refuse a machine.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from cluster.checks.swarm import membership, owner
from cluster.checks.table import Context
from cluster.errors import NotReady, TrtSparkError, Unreachable
from cluster.facts import Facts, SwarmState
from cluster.service_spec import PAUSED, SILENT, runs, told
from remote import (
    fabric_addresses,
    gpu_clock,
    gpu_runtime,
    rank_program,
    services,
    serving,
    ssh,
    swarm,
    swarm_end,
    swarm_nodes,
    weights,
)
from remote.engine import NodeDocker
from remote.node import mpi_key, rank_access, ssh_client, whole_file
from tests import samples
from tests.providers.fake_swarm import Engine, Engines, refused

HOSTS = tuple(f"10.24.11.{11 + index}" for index in range(3))
CRASHES = "lab/crash-at-load"


class Killed(BaseException):
    """`pulumi` and its providers end here, whatever they were doing."""


@dataclass
class Faults:
    """Fails the `at`-th step of those that are counted, before it happens or once it has; 0 for none."""

    at: int = 0
    kind: Callable[[], BaseException] = Killed
    after: bool = False
    count: int = 0
    hit: bool = False

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one call that a machine carries out."""
        self.count += 1
        mine = self.count == self.at
        if mine and not self.after:
            self.hit = True
            raise self.kind()
        yield
        if mine:
            self.hit = True
            raise self.kind()


def no_answer() -> BaseException:
    """Docker's connection breaks."""
    return requests.ConnectionError("Connection aborted.")


def refusal() -> BaseException:
    """Docker refuses."""
    return refused(500, "rpc error: something is wrong")


#: What may meet a call, by name. The last is no fault of a shell's command.
KINDS: dict[str, Callable[[], BaseException]] = {
    "killed": Killed,
    "no answer": no_answer,
    "refused": refusal,
}


class Counted:
    """Docker's client of one machine, each of whose calls is a step."""

    def __init__(self, machines: Machines, engine: Engine) -> None:
        self._machines, self._engine = machines, engine

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)

        def call(*args: Any, **options: Any) -> Any:
            if self._engine.host in self._machines.engines.unreachable:
                raise no_answer()
            with self._machines.faults.step():
                return method(*args, **options)

        return call


class CountedFiles:
    """The module `os`, whose changes of files are steps."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in ("replace", "unlink", "rmdir", "makedirs"):
            return found

        def call(*args: Any, **options: Any) -> Any:
            with self._machines.faults.step():
                return found(*args, **options)

        return call


@cache
def _facts() -> tuple[Facts, ...]:
    return tuple(samples.facts(len(HOSTS)))


@dataclass
class Machines:
    """All machines; `install` puts them in the place of ssh and Docker."""

    root: Path
    faults: Faults = field(default_factory=Faults)
    engines: Engines = field(default_factory=lambda: Engines(*HOSTS, live=True))
    now: float = 0.0
    owners: dict[str, str] = field(default_factory=dict)
    """By host the stack that has prepared it."""

    def __post_init__(self) -> None:
        for host in HOSTS:
            (self.root / host / ".ssh").mkdir(parents=True)
            self.keys(host).write_text("ssh-ed25519 AAAA somebody@elsewhere\n")
            self.engines[host].running["theirs"] = {"com.example": "theirs"}

    def keys(self, host: str) -> Path:
        """A machine's authorized_keys."""
        return self.root / host / ".ssh" / "authorized_keys"

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Real code meets these machines from now on, and its waits take no time."""
        for module in (services, rank_program, swarm_nodes):
            monkeypatch.setattr(module, "connect", self.connect)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        for module in (services, serving, swarm, swarm_nodes):
            monkeypatch.setattr(module, "time", clock)
        for module in (swarm, swarm_end, swarm_nodes):
            monkeypatch.setattr(module, "parallel", one_by_one)
        monkeypatch.setattr(ssh.SshShell, "run", lambda shell, *a, **k: self._run(shell.connection.host, *a))
        monkeypatch.setattr(serving, "gate", self._gate)
        monkeypatch.setattr(serving.live, "confined", lambda *_: [])
        monkeypatch.setattr(services.live, "silence", lambda _: "" if self.serves() else "no answer")
        monkeypatch.setattr(
            "remote.readiness.confirm", lambda props: self._confirm(props["url"], props["model"])
        )
        monkeypatch.setattr("remote.readiness.serving_now", lambda url: self.serves() or "")
        monkeypatch.setattr(rank_access, "os", CountedFiles(self))
        monkeypatch.setattr(whole_file, "os", CountedFiles(self))
        for module, name in ((weights, "forget"), (fabric_addresses, "remove"), (gpu_clock, "give_back")):
            monkeypatch.setattr(module, name, self._undo)
        monkeypatch.setattr(gpu_runtime, "prepare", self._prepare)
        monkeypatch.setattr(gpu_runtime, "give_back", self._give_back)
        monkeypatch.setattr(gpu_runtime, "look", lambda props: {"owner": self.owners.get(_host(props), "")})
        monkeypatch.setattr(mpi_key, "subprocess", SimpleNamespace(run=_keygen))
        monkeypatch.setattr(mpi_key, "_docker", self._docker_words)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def connect(self, connection: ssh.Connection) -> Any:
        """As remote.engine.connect, with its real telling of errors."""
        host = connection.host

        def dial() -> Counted:
            if host in self.engines.unreachable:
                raise self.engines.unreachable[host]
            return Counted(self, self.engines[host])

        return NodeDocker(connection.target, dial)

    # a machine's shell

    def _undo(self, props: Mapping[str, Any], *_more: Any, **_options: Any) -> dict[str, Any]:
        """What is no part of the walk is undone by a step that does nothing."""
        if _host(props) in self.engines.unreachable:
            raise self.engines.unreachable[_host(props)]
        with self.faults.step():
            return {}

    def _prepare(self, props: Mapping[str, Any]) -> dict[str, Any]:
        """As remote/node/gpu_runtime.py does: the record says whose machine it is."""
        host = _host(props)
        self._undo(props)
        if self.owners.get(host, "") not in ("", props["stack"], props["takeOver"]):
            raise TrtSparkError(f"{host}: it was prepared by stack {self.owners[host]}, which owns it.")
        self.owners[host] = props["stack"]
        return {"changed": [], "docker": ""}

    def _give_back(self, props: Mapping[str, Any]) -> dict[str, Any]:
        self._undo(props)
        if self.owners.get(_host(props)) == props["stack"]:
            del self.owners[_host(props)]
        return {}

    def _run(self, host: str, command: str, stdin: str = "", timeout: float = 0) -> ssh.Result:
        if host in self.engines.unreachable:
            raise self.engines.unreachable[host]
        orders = json.loads(shlex.split(command)[-1])
        self._shell_of = host
        before = os.environ["HOME"]
        os.environ["HOME"] = str(self.root / host)
        try:
            with self.faults.step():
                answer = {name: PROGRAMS[name](args) for name, args in orders.items()}
        except (requests.ConnectionError, services.APIError):  # the session is gone
            raise Unreachable(host, "ssh ended.", "Try again.") from None
        finally:
            os.environ["HOME"] = before
        return ssh.Result(0, json.dumps(answer), "")

    def _docker_words(self, words: list[str], data: Any = None, may_fail: bool = False) -> Any:
        """`docker secret …` on the machine whose shell it is."""
        engine, name = self.engines[self._shell_of], words[-2] if words[1] == "create" else words[-1]
        try:
            with self.faults.step():
                match words[1]:
                    case "inspect":
                        [found] = [s for s in engine.secrets() if s["Spec"]["Name"] == name]
                        return SimpleNamespace(returncode=0, stdout=json.dumps([found]))
                    case "create":
                        labels = dict(
                            words[i + 1].split("=", 1) for i, w in enumerate(words) if w == "--label"
                        )
                        engine.create_secret(name, data, labels)
                    case "rm":
                        [found] = [s for s in engine.secrets() if s["Spec"]["Name"] == name]
                        engine.remove_secret(found["ID"])
        except (services.APIError, ValueError):
            if not may_fail:
                raise
            return SimpleNamespace(returncode=1, stdout="")
        return SimpleNamespace(returncode=0, stdout="")

    # the endpoint

    def serves(self) -> str | None:
        """The model that answers; None for no server."""
        for _ in range(4):
            self.engines.settle()
        for host in HOSTS:
            engine = self.engines[host]
            for container in engine.running:
                labels = engine.running[container]
                if container in engine.task_of and labels.get("trtspark.rank") == "0":
                    return self._answer(engine, container)
        return None

    def _answer(self, head: Engine, container: str) -> str | None:
        swarm_of = head.swarm
        if swarm_of is None:
            return None
        _, task = head.task_of[container]
        spec = json.loads(task)["ContainerSpec"]
        model, count = spec["Args"][0], int(spec["Args"][1])
        stack = head.running[container]["trtspark.stack"]
        if model == CRASHES or container in head.paused:
            return None
        for rank in range(1, count):
            wanted = {"trtspark.stack": stack, "trtspark.rank": str(rank)}
            for host in HOSTS:
                engine = self.engines[host]
                if any(
                    one not in engine.paused
                    and wanted.items() <= labels.items()
                    and engine.images.get(one) == head.images[container]
                    for one, labels in engine.running.items()
                ):
                    break
            else:
                return None
            public = next(
                (
                    swarm_of.object_labels[i].get(mpi_key.LABEL)
                    for i in swarm_of.secrets.values()
                    if swarm_of.object_labels[i].get("trtspark.stack") == stack
                ),
                None,
            )
            if public is None or f"{public} trtspark-mpi-{stack}\n" not in self.keys(host).read_text():
                return None
        return str(model)

    def _gate(self, waiting: Mapping[str, Any], say: Any) -> dict[str, Any]:
        found = self.serves()
        if found != waiting["model"]:
            raise NotReady(f"{waiting['model']}: it did not become ready.")
        return {"readySeconds": 1.0, "provenTransport": []}

    def _confirm(self, url: str, model: str) -> None:
        if self.serves() != model:
            raise NotReady(f"{url}: another model answers, or none.")

    # the look before the plan

    def look(self, hosts: tuple[str, ...]) -> list[Facts]:
        """The facts of these machines as the probe would find them. Raises Unreachable."""
        self.engines.settle()
        return [self._look(HOSTS.index(host)) for host in hosts]

    def _look(self, index: int) -> Facts:
        host = HOSTS[index]
        if host in self.engines.unreachable:
            raise self.engines.unreachable[host]
        engine, facts = self.engines[host], _facts()[index]
        about = engine.info()["Swarm"]
        managers = tuple(one["Addr"].rpartition(":")[0] for one in about.get("RemoteManagers") or [])
        state = SwarmState(
            about["LocalNodeState"],
            about["NodeID"],
            about["ControlAvailable"],
            error=about.get("Error", ""),
            managers=managers,
        )
        ranks = {
            (labels["trtspark.stack"], labels["trtspark.rank"]): told(
                "paused" if container in engine.paused else "running", labels
            )
            for container, labels in engine.running.items()
            if "trtspark.rank" in labels
        }
        # As remote/preflight.py asks the endpoint.
        for rank, text in ranks.items():
            if rank[1] == "0" and text != PAUSED and self.serves() is None:
                ranks[rank] = SILENT
        known: dict[str, Any] = {}
        if state.manager:
            listed = [
                one["Spec"]
                for one in engine.services()
                if "trtspark.rank" in (one["Spec"].get("Labels") or {})
            ]
            known = {
                "wanted": {
                    (s["Labels"]["trtspark.stack"], s["Labels"]["trtspark.rank"]): runs(s) for s in listed
                },
                "configs": {
                    c["Spec"]["Name"]: c["ID"]
                    for c in engine.configs()
                    if c["Spec"]["Name"].startswith("trtspark-")
                },
                "secrets": {
                    c["Spec"]["Name"]: c["Spec"]["Labels"].get(mpi_key.LABEL, "")
                    for c in engine.secrets()
                    if c["Spec"]["Name"].startswith("trtspark-")
                },
                "swarm_nodes": {
                    n["ID"]: {k: v for k, v in n["Spec"]["Labels"].items() if k.startswith("trtspark.")}
                    for n in engine.nodes()
                },
            }
        return replace(
            facts,
            rank_access=rank_access.allowed(str(self.root / host)),
            docker=replace(facts.docker, swarm=state),
            ranks=tuple((stack, rank, "8355") for stack, rank in ranks),
            specs=ranks,
            owner=self.owners.get(host, ""),
            **known,
        )


def refusals(stack: str, count: int, facts: list[Facts], take_over: str) -> list[TrtSparkError]:
    """What the preview refuses."""
    changes = {"takeOver": take_over} if take_over else {}
    context = Context(stack, samples.settings(count, **changes), facts, [])
    return [one.error() for check in (membership, owner) for one in check(context) if one.level == "FAIL"]


def one_by_one(work: Any, items: Any) -> list[Any]:
    """As `parallel`, in order, so that a walk can be repeated: an error is raised once all were tried."""
    done, failed = [], []
    for item in items:
        try:
            done.append(work(item))
        except Exception as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return done


def _host(props: Mapping[str, Any]) -> str:
    [login] = props.get("connections") or [props["connection"]]
    return str(login["host"])


def _keygen(words: list[str], **_: Any) -> Any:
    path = Path(words[-1])
    digest = base64.b64encode(hashlib.sha256(os.urandom(8)).digest()).decode()
    path.write_text("private")
    path.with_suffix(".pub").write_text(f"ssh-ed25519 {digest} trtspark-mpi\n")
    return SimpleNamespace(returncode=0, stderr="")


PROGRAMS = {"mpi_key": mpi_key.main, "rank_access": rank_access.main, "ssh_client": ssh_client.main}
