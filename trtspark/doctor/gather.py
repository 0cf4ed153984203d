"""Looking at everything at once: configuration and outputs by Pulumi, the nodes, what runs, the endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cluster import fabric, link_report, nccl_test
from cluster.config import Settings
from cluster.errors import NodeError, PlanError, TrtSparkError
from cluster.facts import Facts
from cluster.live import Answer, CableTest, Live
from cluster.live import seen as seen_of
from cluster.resolution import HubUnavailable
from remote import live as remote_live
from remote import model, node, preflight, registry
from remote.ssh import Connection, Result, Shell, SshShell
from trtspark import terminal
from trtspark.doctor import rows
from trtspark.doctor.rows import Report, Row

if TYPE_CHECKING:
    from remote.hub import Hub
    from trtspark.project import Stack

Mode = Literal["quick", "normal", "full"]
#: What every one of them shows is no passing moment.
GPU_SAMPLES = 4
#: Of the running server, the last lines.
LOG_LINES = 2000


@dataclass
class Gathered:
    """The report, and what it was made of, for the archive."""

    report: Report
    live: Live | None = None
    facts: Sequence[Facts] = ()
    probes: Mapping[str, Any] = field(default_factory=dict)
    machines: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)


class Recorder:
    """Shells that remember what the nodes' programs answered, by host."""

    def __init__(self, shell: Callable[[Connection], Shell] = SshShell) -> None:
        self._shell = shell
        self.probes: dict[str, Any] = {}

    def __call__(self, connection: Connection) -> Shell:
        """A shell to that node."""
        return _Recorded(self._shell(connection), connection.host, self.probes)


class _Recorded:
    def __init__(self, shell: Shell, host: str, probes: dict[str, Any]) -> None:
        self._shell, self._host, self._probes = shell, host, probes
        self.close, self.renew = shell.close, shell.renew

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        result = self._shell.run(command, stdin=stdin, timeout=timeout)
        try:
            answer = node.answer(result.out)
        except ValueError:
            return result
        if "probe" in answer:
            self._probes[self._host] = answer["probe"]
        return result


def gather(stack: Stack, mode: Mode, part: str = "") -> Gathered:
    """Look at everything that `mode` asks for. Raises ConfigError for a configuration that cannot be read."""
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        outputs = pool.submit(lambda: stack.outputs)
        settings = stack.settings
        found = _looked(pool, stack, settings, mode, outputs)
    hosts = [one.host for one in settings.active_nodes]
    report = found.report
    found.report = Report(
        report.stack,
        mode,
        report.deployed,
        report.nodes,
        report.machines,
        rows.chosen(report.rows, hosts, part),
        time.monotonic() - started,
    )
    return found


def _looked(
    pool: ThreadPoolExecutor,
    stack: Stack,
    settings: Settings,
    mode: Mode,
    outputs: Future[dict[str, Any]],
) -> Gathered:
    hosts = [one.host for one in settings.active_nodes]
    try:
        connections = stack.connections
    except NodeError as error:
        return Gathered(_without_logins(stack.name, mode, hosts, error, outputs))
    recorder = Recorder()
    hub_of = _unasked if mode == "quick" else model.default_hub
    ask_registry = None if mode == "quick" else registry.ask
    examined = pool.submit(
        preflight.examine, stack.name, settings, connections, recorder, hub_of, ask_registry
    )
    looked = pool.submit(remote_live.look, stack.name, settings.image, connections, samples=GPU_SAMPLES)
    there = outputs.result()
    answered = pool.submit(_answer, settings, there, mode)
    look, machines, answer = examined.result(), looked.result(), answered.result()
    reached = len(look.facts) == len(hosts)
    live = _live(stack.name, settings, look, machines, there, answer) if reached else None
    if live:
        live = _more(live, connections, mode)
    errors = [e for e in look.errors if mode != "quick" or not isinstance(e, HubUnavailable)]
    report = Report(
        stack.name,
        mode,
        bool(there.get("endpoint")),
        hosts,
        {facts.node: rows.machine(facts) for facts in look.facts},
        [
            *rows.of_errors(errors, hosts),
            *rows.of_facts(look.findings, look.facts, reached),
            *rows.of_notes(look.notes if mode != "quick" else ()),
            *rows.of_live(live),
        ],
    )
    return Gathered(report, live, look.facts, recorder.probes, dict(zip(hosts, machines, strict=True)), there)


def _without_logins(
    stack: str, mode: Mode, hosts: Sequence[str], error: NodeError, outputs: Future[dict[str, Any]]
) -> Report:
    """A host key that is not known: nothing is dialled at all."""
    there = outputs.result()
    told = rows.of_errors([error], hosts)
    listed = [row for row in told if row.status == "FAIL"] + [
        Row(row.check, "SKIP", row.node, "not asked.") for row in told if row.status == "PASS"
    ]
    return Report(stack, mode, bool(there.get("endpoint")), hosts, {}, listed)


def _unasked(_settings: Settings) -> Hub:
    raise HubUnavailable("The Hub was not asked (--quick).")


def _answer(settings: Settings, outputs: Mapping[str, Any], mode: Mode) -> Answer | None:
    url, name = outputs.get("endpoint"), outputs.get("model")
    if not url or not name or not settings.running:
        return None
    return remote_live.answer(str(url), str(name), complete=mode != "quick")


def _live(
    stack: str,
    settings: Settings,
    look: preflight.Examination,
    machines: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, Any],
    answer: Answer | None,
) -> Live:
    manager = machines[0]
    return Live(
        stack,
        settings,
        look.facts,
        look.caches,
        outputs,
        [seen_of.machine(one) for one in machines],
        seen_of.members(manager),
        seen_of.services(manager),
        seen_of.tasks(manager),
        answer,
    )


def _more(live: Live, connections: Sequence[Connection], mode: Mode) -> Live:
    """What takes longer: the log, and with --full the cables and a container on each node."""
    from dataclasses import replace

    if mode == "quick":
        return live
    if live.serving:
        live = replace(live, log=_log(live.stack, connections[0]))
    if mode != "full":
        return live
    # Imported before the threads are there: docker's package breaks when two import it at once.
    from remote import fabric_test, gpu_container, nccl_test, rail_test  # noqa: F401

    with ThreadPoolExecutor(1) as pool:
        gpus = pool.submit(_gpus, live, connections)
        return replace(live, fabric=_fabric(live, connections, terminal.hint), gpus=gpus.result())


def _log(stack: str, connection: Connection) -> list[str] | None:
    """Of the container that runs; None when none does."""
    import requests

    from remote import logs
    from remote.engine import connect

    try:
        client = connect(connection)
        running = next((one for one in logs.containers(client, stack) if one.running), None)
        return logs.read(client, running.id, LOG_LINES) if running else None
    except (TrtSparkError, requests.RequestException):
        return None


def _fabric(live: Live, connections: Sequence[Connection], say: Callable[[str], None]) -> CableTest | None:
    """The full test of the cables; None where ranks share none."""
    from remote import fabric_test

    settings = live.settings
    try:
        network = fabric.plan(live.nodes, [one.fabric for one in settings.active_nodes], settings.transport)
    except PlanError:
        return None
    wires = link_report.wires(network, live.nodes)
    if not wires:
        return None
    props = {
        "wires": wires,
        "connections": [one.as_props() for one in connections],
        "nccl": nccl_test.plan(network, settings.nccl, live.nodes[0].listening, settings.restrict_containers),
        "image": live.outputs.get("image") or settings.image,
    }
    try:
        return CableTest(*fabric_test.measure_all(props, say))
    except TrtSparkError as error:
        return CableTest(warnings=[str(error)])


def _gpus(live: Live, connections: Sequence[Connection]) -> dict[str, str]:
    """By node, where Docker has the nvidia runtime and there is an image."""
    from remote import gpu_container

    images = [str(name) for name in (live.outputs.get("image"), live.settings.image) if name]

    def ask(index: int) -> str | None:
        facts = live.nodes[index]
        if "nvidia" not in facts.docker.runtimes:
            return None
        return gpu_container.problem(connections[index], images, live.settings.restrict_containers)

    with ThreadPoolExecutor(len(connections)) as pool:
        said = list(pool.map(ask, range(len(connections))))
    return {facts.node: text for facts, text in zip(live.nodes, said, strict=True) if text is not None}
