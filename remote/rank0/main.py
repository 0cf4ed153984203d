"""`python3 rank0.pyz trtllm-serve …`: from a started container to an exit code.

What to launch is in the environment: TRTSPARK_LAUNCH (cluster/launch.py) and TRTSPARK_ENGINE_OPTIONS, the
engine's options file, written to OPTIONS_PATH.

With one rank the server runs directly; with more, mpirun reaches each worker's container through its host's
sshd and a forced command (remote/node/rank_exec.sh). The server itself is started through `serve`, because it
binds its port without SO_REUSEADDR (1.3.0rc5): one client's idle connection would then keep a new server from
the port for a minute after the old one died.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from . import codes, files, kernels, mpirun, peers, processes, room, server
from .codes import say

OPTIONS_PATH = files.RUN + "/extra-llm-api-config.yml"
WATCH_INTERVAL_S = 0.5
#: The server's process gets this long to appear before its absence counts.
SERVER_START_S = 60
LAST_WORDS_S = 1.0
#: SIGTERM, then SIGKILL after this: what was worth finishing was drained before.
STOP_GRACE_S = 1.5
DEFAULT_READY_S = 86400


def main(words):
    """The container's exit code: see codes.MEANINGS, else mpirun's own."""
    if words[0] == "serve":
        server.serve(words[1:])
        return 0
    launch = json.loads(os.environ["TRTSPARK_LAUNCH"])
    os.makedirs(files.RUN, mode=0o700, exist_ok=True)
    with open(OPTIONS_PATH, "w", encoding="utf-8") as handle:
        handle.write(os.environ["TRTSPARK_ENGINE_OPTIONS"])
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    try:
        return run(launch, words, asked)
    except codes.Ended as ended:
        say("ended: %s (exit code %d: %s)" % (ended, ended.code, codes.MEANINGS[ended.code]))
        return ended.code


def run(launch, command, asked):
    """Start everything and watch it to its end. Raises Ended when we end it."""
    host, port = server.option(command, "--host"), int(server.option(command, "--port") or 0)
    if port:
        server.claim(host, port)
    words = [sys.executable, os.path.abspath(sys.argv[0]), "serve", *command]
    if len(launch["ranks"]) > 1:
        files.write(launch)
        peers.wait(launch, asked)
        if asked.is_set():
            return codes.STOPPED
        words = [*mpirun.words(launch, mpirun.major()), "trtllm-llmapi-launch", *words]
    room.make(launch, command[1])
    compiled = kernels.prepare(launch, command[1])
    say("starting: %s" % " ".join(words))
    child = subprocess.Popen(words, start_new_session=True)
    processes.end_first(child.pid)
    model = server.option(command, "--served_model_name") or command[1]
    ready_s = launch.get("ready_s", DEFAULT_READY_S)
    signs = [peers.Heartbeat(peer).check for peer in launch["ranks"][1:]]
    if port:
        liveness = server.Liveness(host, port, model, ready_s)
        signs += [liveness.check, lambda: compiled.check(liveness.ready)]
    try:
        watch(child, signs, asked, port, launch.get("drain_s", 0))
        if asked.is_set():
            say("stopping: asked to stop")  # what mpirun says of signals from here on is our doing
    except codes.Ended as ended:
        say("stopping: %s" % ended)
        compiled.ended(ended.code)
        raise
    finally:
        stop(child)
    if asked.is_set():
        return codes.STOPPED
    compiled.ended(child.returncode)
    if child.returncode == 0:
        raise codes.Ended(codes.UNASKED, "the server ended although nobody asked for it")
    code = child.returncode if child.returncode > 0 else 128 - child.returncode
    say("ended with exit code %d" % code)
    return code


def watch(child, signs, asked, port, drain_s):
    """Return when the child ended or somebody asked for the end (after the drain); else raise Ended."""
    started = time.monotonic()
    seen, stopped_since = False, 0.0
    while child.poll() is None:
        if asked.is_set():
            pid = server.process()
            if pid is not None and drain_s:
                server.drain(pid, port, drain_s)
            return
        pid = server.process()
        seen = seen or pid is not None
        late = time.monotonic() - started > SERVER_START_S
        if pid is None and (seen or late) and child.poll() is None:
            asked.wait(LAST_WORDS_S)  # mpirun brings its last words: they are the cause
            raise codes.Ended(codes.SERVER_DIED, "trtllm-serve has ended but its launcher goes on")
        for sign in signs:
            sign()
        stopped_since = _own_ranks(pid, stopped_since)
        asked.wait(WATCH_INTERVAL_S)


def _own_ranks(pid, since):
    """Since when the server (its `pid`, None without one) or a process of our own rank is stopped (0: none
    is). Raises Ended after STOPPED_S.
    """
    states = [*processes.ranks().values(), processes.state(pid) if pid else ""]
    if not any(state in ("T", "t") for state in states):
        return 0.0
    since = since or time.monotonic()
    if time.monotonic() - since > peers.STOPPED_S:
        raise codes.Ended(codes.HUNG, "rank 0 is stopped")
    return since


def stop(child):
    """SIGTERM to mpirun, which ends the ranks; SIGKILL to its session; the rest dies with the container.

    Not SIGTERM to all of them: an mpirun of OpenMPI 4.1 whose ranks end under its hands can crash, and the
    trace of that hides the cause in the log.
    """
    for tell, number, patience in (
        (os.kill, signal.SIGTERM, STOP_GRACE_S),
        (os.killpg, signal.SIGKILL, 5),
    ):
        try:
            tell(child.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if child.poll() is not None:
            return
