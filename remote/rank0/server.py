"""The server: started with ports that can be bound again, found, and asked whether it lives."""

import errno
import http.client
import json
import os
import runpy
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

from . import codes, completion, connections, goodbye
from .codes import say

#: The port of a server that has just been stopped is free again within this.
PORT_PATIENCE_S = 5
#: Idle, the engine is asked for a short completion this often, and gets this long for it.
ASK_EVERY_S = 30
ANSWER_S = 60
#: So many completions in a row have to fail, over so long, before the engine is given up; after one
#: that failed the next is asked for sooner.
FAILURES = 3
FAILING_S = 120
ASK_AGAIN_S = 10
#: Where a client waits before us, an answer that is not streamed may take minutes: so long at most. The
#: engine's own hang detector says so after 300 s, and that is believed at once.
STALL_S = 900
HANG = "Hang detected"
#: /health may fail while a request aborts; for longer it means that the engine is gone.
UNHEALTHY_S = 10
#: A server that is busy answers late, and never for so long not at all.
SILENT_S = 60
HEALTH_EVERY_S = 2
HTTP_TIMEOUT_S = 5


def serve(command):
    """Become the server (a Python program), with ports that can be bound while old connections close."""
    bind = socket.socket.bind

    def reusing(self, address):
        if self.family == socket.AF_INET and self.type == socket.SOCK_STREAM:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return bind(self, address)

    socket.socket.bind = reusing  # type: ignore[method-assign]  # on purpose: see main
    sys.argv = command
    goodbye.teach()
    runpy.run_path(shutil.which(command[0]) or command[0], run_name="__main__")


def option(command, name):
    """The value after `name` on trtllm-serve's command line: the last one counts."""
    places = [index for index, word in enumerate(command[:-1]) if word == name]
    return command[places[-1] + 1] if places else ""


def claim(host, port):
    """Raises Ended when the port cannot be had: better now than after the load."""
    deadline = time.monotonic() + PORT_PATIENCE_S
    while True:
        refused = _bind(host, port)
        if refused is None:
            return
        if refused.errno != errno.EADDRINUSE or time.monotonic() > deadline:
            raise codes.Ended(codes.PORT_TAKEN, "%s:%d cannot be bound: %s" % (host, port, refused.strerror))
        time.sleep(0.2)


def _bind(host, port):
    """The error that binding gives, None for none."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def process():
    """The pid of the server itself (not of mpirun or the launcher that name it); None when there is none."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as handle:
                    words = handle.read().split(b"\0")
            except OSError:
                continue
            if words[2:4] == [b"serve", b"trtllm-serve"]:
                return int(name)
    return None


#: Of /proc/net/tcp: a connection that is open, and one of which an end is closed and the other not.
OPEN, HALF_CLOSED = "01", ("04", "05", "08")


def clients(port, half_closed=False):
    """The far ends of every connection that is open to the port; on request also of those half-closed that
    a process still holds.
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as handle:
                rows = handle.read().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            here = int(fields[1].rpartition(":")[2], 16) == port
            lingers = half_closed and fields[3] in HALF_CLOSED and fields[9] != "0"  # 0: no process has it
            if here and (fields[3] == OPEN or lingers):
                found.add(fields[2])
    return found


def traffic(port):
    """What went over each client's connection; where the kernel does not tell, the connections alone."""
    try:
        return connections.traffic(port)
    except OSError:
        return dict.fromkeys(clients(port), (0, 0))


class Liveness:
    """Whether the engine behind the port still works: /health, and a short completion now and then.

    Only a completion that succeeds is a sign of life: an engine whose kernels fail refuses all of them, at
    once, and its /health goes on saying 200.
    """

    def __init__(self, host, port, model, ready_s):
        """`ready_s`: seconds until the first completion must have come."""
        self.url = "http://%s:%d" % (host, port)
        self.port, self.model = port, model
        self.begun = self.well = self.heard = time.monotonic()
        self.deadline = self.begun + ready_s
        self.ready_s = ready_s
        self.ready = False
        self.failures, self.failing = 0, 0.0
        self.ended = None
        threading.Thread(target=self._watch, daemon=True).start()

    def check(self):
        """Raises Ended when it does not."""
        if self.ended is not None:
            raise self.ended
        if not self.ready and time.monotonic() > self.deadline:
            raise codes.Ended(codes.NOT_READY, "no completion within %d s" % self.ready_s)

    def _watch(self):
        asked = 0.0
        while self.ended is None:
            time.sleep(HEALTH_EVERY_S if self.ready else 0.2)
            healthy = self._health()
            if healthy is not None:
                self.heard = time.monotonic()
            elif self.ready and time.monotonic() - self.heard > SILENT_S:
                self.ended = codes.Ended(codes.HUNG, "/health says nothing for %d s" % SILENT_S)
            if healthy is not False:
                self.well = time.monotonic()
            elif self.ready and time.monotonic() - self.well > UNHEALTHY_S:
                self.ended = codes.Ended(
                    codes.UNHEALTHY, "/health says 503 for %d s: the engine is gone" % UNHEALTHY_S
                )
            if healthy and time.monotonic() - asked > self._pause():
                self._ask()
                asked = self.heard = time.monotonic()

    def _pause(self):
        """Seconds between two questions."""
        if self.failures:
            return ASK_AGAIN_S
        return ASK_EVERY_S if self.ready else 0

    def _judge(self, fault):
        """Take a completion's fault ("" for none) into account."""
        if not fault:
            self.ready, self.failures = True, 0
            return
        now = time.monotonic()
        self.failing = self.failing if self.failures else now
        self.failures += 1
        if HANG in fault:
            self.ended = codes.Ended(codes.HUNG, "the engine says so itself: %s" % fault)
        say("a completion failed (%d in a row): %s" % (self.failures, fault))
        if self.ended is None and self.failures >= FAILURES and now - self.failing >= FAILING_S:
            self.ended = codes.Ended(
                codes.FAILING,
                "%d completions in a row failed within %d s, the last one with: %s"
                % (self.failures, now - self.failing, fault),
            )

    def _health(self):
        """True, False (the engine is gone), or None where nothing can be said."""
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=HTTP_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            with error:
                return False if error.code == 503 else None
        except (OSError, ValueError, http.client.HTTPException):
            return None  # not there yet, or busy: the other signs tell

    def _ask(self):
        """A short completion. Silence counts when nobody else gets tokens either."""
        request = urllib.request.Request(
            self.url + "/v1/chat/completions",
            json.dumps(completion.body(self.model, completion.WATCH_TOKENS)).encode(),
            {"Content-Type": "application/json"},
        )
        queue = connections.Queue(time.monotonic(), traffic(self.port))
        faults = []

        def ask():
            fault = _fault(request)
            if fault is not None:
                faults.append(fault)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(1)
            queue.look(time.monotonic(), traffic(self.port))
            silent = queue.silent(time.monotonic(), ANSWER_S, STALL_S)
            if self.ready and silent and thread.is_alive():
                self.ended = codes.Ended(codes.HUNG, silent)
                return
        for fault in faults:
            self._judge(fault)


def _fault(request):
    """What is wrong with the answer ("" for nothing); None where there was none in time."""
    try:
        with urllib.request.urlopen(request, timeout=STALL_S + ANSWER_S) as answer:
            return completion.fault(answer.status, _text(answer))
    except urllib.error.HTTPError as error:
        with error:
            return completion.fault(error.code, _text(error))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return None if isinstance(reason, TimeoutError) else "no answer: %s" % reason


def _text(answer):
    return answer.read(completion.MOST_BYTES).decode(errors="replace")


def drain(pid, port, seconds):
    """Let the server finish what it has begun; it takes nothing new. Returns when it has, or time is up."""
    if not clients(port):
        return
    say("draining: connections: %d, for at most %d s" % (len(clients(port)), seconds))
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process() == pid and clients(port, half_closed=True):
        time.sleep(0.05)
