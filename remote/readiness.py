"""Waiting for the server: its port, its tasks and its log, for remote/serving.py and the endpoint."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import requests

from cluster import engine_log, exits, transport_causes
from cluster import transport as transport_plan
from cluster.errors import NodeError, NotReady
from cluster.load_progress import progress
from cluster.patience import too_late
from cluster.service_spec import SPEC_LABEL
from remote import transport, web
from remote.engine import connect
from remote.rank0 import completion
from remote.ssh import Connection

POLL_S = 0.1
#: How often tasks and logs are looked at while the port is silent.
LOOK_S = 1.0
HTTP_TIMEOUT_S = 3
#: The first completion may compile kernels; with a dead peer it hangs (reference: the engine's source).
COMPLETION_TIMEOUT_S = 120
#: Completions that fail may be the trouble of a moment. So many in a row over so long are not, and the
#: engine is not going to answer better; rank 0's own watch takes longer (remote/rank0/server.py).
FAILURES = 3
FAILING_S = 10
ASK_AGAIN_S = 3
#: Swarm starts a failed container again each second: this many failures are no passing trouble.
MAX_FAILURES = 3
#: A server that was ready a moment ago answers within this.
CONFIRM_S = 15
LOG_LINES = 400
#: The longest line of progress.
SHOWN_CHARS = 200
#: NCCL reports at the start, which a talkative engine leaves far behind.
ALL_LINES = 20_000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def gate(props: Mapping[str, Any], say: Any) -> dict[str, Any]:
    """Wait until `model` answers a completion of some length; the outputs say how long it took and over what.

    Raises NotReady with the cause as far as the log tells, and the last lines seen.
    """
    started = time.monotonic()
    watch = _Watch(props, say)
    completions = _Completions(props)
    try:
        while not completions.succeed():
            watch.look(time.monotonic() - started)
            time.sleep(POLL_S)
    except NotReady as error:
        raise NotReady(watch.explained(str(error))) from None
    ready = time.monotonic() - started
    return {
        **props,
        "readySeconds": round(ready, 1),
        "provenTransport": transport.prove(props, lambda: watch.log(ALL_LINES)),
    }


class _Watch:
    """Swarm's view of rank 0 and its log, looked at now and then while nothing answers.

    A head that cannot be reached says nothing about the server: the wait goes on until its deadline.
    """

    def __init__(self, props: Mapping[str, Any], say: Any) -> None:
        self.props, self.say = props, say
        self.deadline = float(props["timeout"])
        self.next_look = 0.0
        self.known: set[str] | None = None
        self.told = ""
        self.container = ""

    def look(self, waited: float) -> None:
        if waited < self.next_look:
            return
        try:
            far, last = self._seen()
        except NodeError as error:
            far, last = "the head cannot be reached", str(error)
        self.next_look = waited + LOOK_S
        text = f"{far}; {waited:.0f} of at most {self.deadline:.0f} s: {last}"[:SHOWN_CHARS]
        if text != self.told:
            self.say(text)
            self.told = text
        if waited > self.deadline:
            raise NotReady(too_late(self.deadline, self.props["model"], self.props["url"], text))

    def _seen(self) -> tuple[str, str]:
        """How far the start is, and the last word on it. Raises NotReady when it cannot end well."""
        tasks = self._tasks()
        if self.known is None:
            self.known = {t["ID"] for t in tasks if _over(t)}
        failed = [t for t in tasks if _failed(t) and t["ID"] not in self.known]
        current = next((t for t in tasks if t["DesiredState"] == "running"), {})
        status = current.get("Status", {})
        self.container = (_container(current) if current else "") or self.container
        lines = self.log()
        last = lines[-1].strip() if lines else ""
        if any(engine_log.fatal(line) for line in lines):
            raise NotReady("the server did not start")
        if len(failed) >= MAX_FAILURES:
            reason = failed[0]["Status"].get("Err") or failed[0]["Status"].get("Message", "")
            code = failed[0]["Status"].get("ContainerStatus", {}).get("ExitCode", 0)
            why = f": {means}" if (means := exits.explained(code)) else ""
            raise NotReady(f"the server ended {len(failed)} times in a row ({reason}{why})")
        far = progress(lines, len(self.props["network"]) or 1) or status.get("State", "no task")
        return far, status.get("Err") or last

    def log(self, count: int = LOG_LINES) -> list[str]:
        """The last lines of rank 0's newest container."""
        running = (_container(task) for task in self._tasks() if task["Status"]["State"] == "running")
        return self._log_of(self.container or next(running, ""), count)

    def explained(self, what: str) -> str:
        try:
            lines = self._failed_log() or self.log()
        except NodeError:  # the head cannot be reached, which `what` says
            lines = []
        cause = engine_log.cause([what, *lines])  # a failed completion says why
        if cause.startswith(engine_log.OF_NCCL):
            ranks = transport_plan.expected(self.props["network"])
            cause = transport_causes.told(ranks, lines, transport_plan.lines_of) or cause
        tail = " | ".join(line.strip()[:160] for line in lines[-3:])
        text = f"{self.props['model']}: {what}."
        if cause:
            text += f" Cause: {cause.rstrip('.')}."
        if tail:
            text += f" Last lines: {tail}"
        return f"{text} The whole log: `docker service logs {self.props['service']}` on the head."

    def _failed_log(self) -> list[str]:
        """The last lines of the newest container that failed since the wait began, if it is still there."""
        failed = (task for task in self._tasks() if _failed(task) and task["ID"] not in (self.known or ()))
        return next((lines for task in failed if (lines := self._log_of(_container(task)))), [])

    def _log_of(self, container: str, count: int = LOG_LINES) -> list[str]:
        """Without the colours that the engine and uvicorn put in; [] when the container has just gone."""
        if not container:
            return []
        try:
            raw = self._manager().logs(container, tail=count)
        except requests.RequestException:  # docker's own errors are of this kind
            return []
        return _COLOUR.sub("", raw.decode(errors="replace")).splitlines()

    def _manager(self) -> Any:
        return connect(Connection.from_props(self.props["manager"]))

    def _tasks(self) -> list[dict[str, Any]]:
        """Newest first, of this spec alone: a task of the one before may still be there, with its log."""
        found = self._manager().tasks(filters={"service": self.props["service"]})
        ours = [task for task in found if _fingerprint(task) == self.props["fingerprint"]]
        return sorted(ours, key=lambda t: t["CreatedAt"], reverse=True)


def _fingerprint(task: Mapping[str, Any]) -> str:
    labels = task["Spec"].get("ContainerSpec", {}).get("Labels") or {}
    return str(labels.get(SPEC_LABEL, ""))


def _container(task: Mapping[str, Any]) -> str:
    return str(task["Status"].get("ContainerStatus", {}).get("ContainerID", ""))


def _over(task: Mapping[str, Any]) -> bool:
    return task["Status"]["State"] in ("failed", "rejected", "complete", "shutdown", "orphaned")


def _failed(task: Mapping[str, Any]) -> bool:
    return task["Status"]["State"] in ("failed", "rejected")


def serving_now(url: str) -> str:
    """The model that answers at `url`; "" when none does."""
    try:
        answer = web.get(f"{url}/v1/models", HTTP_TIMEOUT_S)
        answer.raise_for_status()
        return str(web.document(answer)["data"][0]["id"])
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return ""


def confirm(props: Mapping[str, Any]) -> None:
    """Raises NotReady unless `model` answers at `url`; a moment's patience, since it did just before."""
    deadline = time.monotonic() + CONFIRM_S
    while (found := serving_now(props["url"])) != props["model"]:
        if time.monotonic() > deadline:
            raise NotReady(
                f"{props['url']} answers with {found or 'nothing'}, not with {props['model']}: it ended "
                "right after it was ready, or another program took its place. `pulumi up` tries again."
            )
        time.sleep(POLL_S)


class _Completions:
    """Asks the server for completions; one that succeeds makes it ready."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        self.props = props
        self.failures = 0
        self.failing = self.asked = 0.0

    def succeed(self) -> bool:
        """Whether the right model answers one now. Raises NotReady when they go on failing."""
        if serving_now(self.props["url"]) != self.props["model"]:
            self.failures = 0
            return False
        if self.failures and time.monotonic() - self.asked < ASK_AGAIN_S:
            return False
        fault = self._ask()
        self.asked = time.monotonic()
        if fault == "":
            return True
        if fault is not None:
            self._failed(fault)
        return False

    def _failed(self, fault: str) -> None:
        self.failing = self.failing if self.failures else self.asked
        self.failures += 1
        if self.failures >= FAILURES and self.asked - self.failing >= FAILING_S:
            raise NotReady(
                f"it lists the model but completes nothing, {self.failures} times in a row: {fault}"
            )

    def _ask(self) -> str | None:
        """What is wrong with the answer ("" for nothing); None where there was none."""
        body = completion.body(self.props["model"], completion.GATE_TOKENS)
        url = f"{self.props['url']}/v1/chat/completions"
        try:
            answer = web.post(url, body, COMPLETION_TIMEOUT_S)
        except requests.RequestException:
            return None
        return completion.fault(answer.status_code, web.text(answer))
