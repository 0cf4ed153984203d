"""Watching nodes and engine: one ssh session per node for as long as it lasts, one thread for the engine."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import requests

from cluster import vitals
from cluster.errors import TrtSparkError
from cluster.vitals import Load, Vitals
from remote import limited, node, web
from remote.node import untrusted
from remote.rank0 import completion
from remote.ssh import Connection, explained, options

#: Seconds for one sample: nvidia-smi itself may take a while on a busy machine.
SAMPLE_S = 12.0
HTTP_S = 4.0
#: A completion is asked for so often, gets so long, and is waited for so long where there is one look only.
COMPLETION_EVERY_S = 30.0
COMPLETION_S = 60.0
COMPLETION_WAIT_S = 10.0
#: Samples that nobody has taken yet: a node gives one for each question.
WAITING = 16


class NodeWatch:
    """One node: a sample whenever it is asked for, over one session, begun anew when that ended."""

    def __init__(self, connection: Connection, stack: str, manager: bool = False) -> None:
        """Nothing is dialled until the first sample. `manager`: it is asked for the Swarm's services, too."""
        self.connection, self.stack, self.manager = connection, stack, manager
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._before: dict[str, Any] | None = None
        self.sessions = 0

    def sample(self) -> Vitals:
        """The node now; what is wrong is in `problem`."""
        try:
            found = self._ask()
        except TrtSparkError as error:
            self.close()
            return Vitals(self.connection.host, problem=str(error))
        facts = vitals.vitals(self.connection.host, found, self._before)
        self._before = found
        return facts

    def close(self) -> None:
        """End the session."""
        process, self._process, self._before = self._process, None, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin:
                process.stdin.close()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                with suppress(OSError):
                    stream.close()

    def _ask(self) -> dict[str, Any]:
        process = self._process or self._begin()
        assert process.stdin is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            line = self._lines.get(timeout=SAMPLE_S)
        except (OSError, queue.Empty):
            line = None
        if line is None:
            raise self._gone(process)
        try:
            found = untrusted.load(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TrtSparkError(f"{self.connection.target}: its answer is none.")
        return found

    def _begin(self) -> subprocess.Popen[str]:
        words = [
            "ssh",
            *options(self.connection),
            *("-p", str(self.connection.port), f"{self.connection.user}@{self.connection.host}"),
            node.SESSION_COMMAND,
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            # Ctrl-C is for us: the sessions are ended in order.
            words,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._process, self._lines = process, queue.Queue(WAITING)
        self.sessions += 1
        assert process.stdin is not None
        threading.Thread(target=_read, args=(process, self._lines), daemon=True).start()
        with suppress(OSError):
            process.stdin.write(node.session("vitals", {"stack": self.stack, "manager": self.manager}))
        return process

    def _gone(self, process: subprocess.Popen[str]) -> TrtSparkError:
        if process.poll() is None:
            return TrtSparkError(f"{self.connection.target}: no answer within {SAMPLE_S:.0f} s.")
        said = process.stderr.read() if process.stderr else ""
        return explained(self.connection, said)


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    with suppress(OSError, ValueError):
        for line in limited.lines(process.stdout) if process.stdout else ():
            if line.startswith("{"):  # whatever a login prints before
                lines.put(line)
    lines.put(None)


class EngineWatch:
    """The API's server: which model answers, and what it does.

    Counters are read where the engine has them (/prometheus/metrics). Else /metrics, which gives every
    iteration to one reader only: `drain` says whether that may be us.
    """

    def __init__(self, url: str, drain: bool = True) -> None:
        """`url` without /v1."""
        self.url, self.drain = url, drain
        self._session = requests.Session()
        self._counters: dict[str, float] | None = None
        self._read_at = 0.0
        self._plain = False

    def sample(self) -> tuple[str, Load]:
        """The served model's id ("" while nothing answers) and the load since the last sample."""
        try:
            answer = web.get(f"{self.url}/v1/models", HTTP_S, session=self._session)
            served = str(web.document(answer)["data"][0]["id"]) if answer.ok else ""
        except (requests.RequestException, ValueError, LookupError, TypeError):
            return "", Load()
        return served, self._load()

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def _load(self) -> Load:
        now, seconds = time.monotonic(), 0.0
        if self._read_at:
            seconds = now - self._read_at
        try:
            found = None if self._plain else self._counted(seconds)
            if found is None and self.drain:
                items = web.document(web.get(f"{self.url}/metrics", HTTP_S, session=self._session))
                found = vitals.drained(items, seconds) if isinstance(items, list) else None
        except (requests.RequestException, ValueError):
            found = None
        self._read_at = now
        return found or Load()

    def _counted(self, seconds: float) -> Load | None:
        answer = web.get(f"{self.url}/prometheus/metrics/", HTTP_S, session=self._session)
        counters = vitals.counters(answer.content.decode(errors="replace")) if answer.ok else {}
        found = vitals.counted(counters, self._counters, seconds)
        self._counters, self._plain = counters, found is None
        return found


class Completions:
    """Asks for a short completion now and then, beside the other looks: a server that lists its model may
    complete nothing.
    """

    def __init__(self, url: str, every_s: float = COMPLETION_EVERY_S) -> None:
        """`url` without /v1. Nothing is asked until the first look."""
        self.url, self.every_s = url, every_s
        self._asked_at = -every_s
        self._fault = ""
        self._thread: threading.Thread | None = None

    def fault(self, served: str) -> str:
        """What is wrong with the last answer; "" for nothing, and while none has come yet."""
        running = self._thread is not None and self._thread.is_alive()
        if served and not running and time.monotonic() - self._asked_at >= self.every_s:
            self._asked_at = time.monotonic()
            self._thread = threading.Thread(target=self._ask, args=(served,), daemon=True)
            self._thread.start()
        return self._fault

    def wait(self, seconds: float = COMPLETION_WAIT_S) -> None:
        """Until the answer to the last question is there, for at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _ask(self, model: str) -> None:
        body = completion.body(model, completion.WATCH_TOKENS)
        try:
            said = web.post(f"{self.url}/v1/chat/completions", body, COMPLETION_S)
        except requests.RequestException:
            return  # it may wait behind other clients, or the server has just ended: the other looks tell
        self._fault = completion.fault(said.status_code, web.text(said))


class Watch:
    """Everything of a stack at once."""

    def __init__(self, connections: Sequence[Connection], stack: str, url: str, drain: bool = True) -> None:
        """`url`: the API's, or "" where nothing is deployed."""
        self.nodes = [NodeWatch(one, stack, not index) for index, one in enumerate(connections)]
        self.engine = EngineWatch(url, drain) if url else None
        self.completions = Completions(url)
        self._pool = ThreadPoolExecutor(len(self.nodes) + 1)

    def sample(self) -> tuple[list[Vitals], str, Load]:
        """Each node, the served model, the load; all asked at the same time."""
        asked = self._pool.submit(self.engine.sample) if self.engine else None
        found = list(self._pool.map(NodeWatch.sample, self.nodes))
        served, load = asked.result() if asked else ("", Load())
        return found, served, load

    def close(self) -> None:
        """End all sessions."""
        for one in self.nodes:
            one.close()
        if self.engine:
            self.engine.close()
        self._pool.shutdown(wait=False)
