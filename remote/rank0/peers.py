"""The other ranks' containers: waiting for them, and hearing whether they live."""

import importlib.resources
import json
import shlex
import subprocess
import threading
import time

from . import codes, files
from .codes import say

PEER_RETRY_S = 0.2
#: Where ssh does not get in, at most so long: ufw's limit lets nobody in who tries six times within 30 s.
LOGIN_RETRY_S = 7.0
SSH_FAILED = 255
#: Seconds for one try: a machine may take the connection and say nothing.
LOGIN_S = 60.0
#: Said again now and then, so that the log shows that somebody waits.
REMIND_S = 60
#: A node that vanished is noticed within this, and a link that was pulled for a moment is not.
SILENCE_S = 10
#: mpirun itself ends the job when a rank ends; this is for when it does not.
ENDED_S = 2
#: A rank's process that is stopped for so long does not go on by itself.
STOPPED_S = 10


def wait(launch, asked):
    """Until every worker's container answers; loading has not begun, so patience costs nothing.

    A worker without power comes back tomorrow. `asked` is set when the container shall stop.
    """
    threads = [
        threading.Thread(target=_wait_for, args=(peer, asked), daemon=True) for peer in launch["ranks"][1:]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and not asked.is_set():
            thread.join(0.2)


def _wait_for(peer, asked):
    told, when, pause = "", 0.0, PEER_RETRY_S
    while not asked.is_set():
        code, said = _login(peer["address"])
        if code == 0:
            say("rank %(rank)d at %(address)s is there" % peer)
            return
        if said != told or time.monotonic() - when > REMIND_S:
            say("waiting for rank %d at %s: %s" % (peer["rank"], peer["address"], said))
            told, when = said, time.monotonic()
        pause = min(LOGIN_RETRY_S, 2 * pause) if code == SSH_FAILED else PEER_RETRY_S
        asked.wait(pause)


def _login(address):
    """The exit code of one try, and the last that it said."""
    command = files.ssh(address, "true")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOGIN_S
        )
    except subprocess.TimeoutExpired:
        return SSH_FAILED, "no answer within %.0f s" % LOGIN_S
    return done.returncode, (done.stderr.strip().splitlines() or ["exit code %d" % done.returncode])[-1]


class Heartbeat:
    """One worker's states, a line each second over ssh; `check` raises Ended when they are bad."""

    def __init__(self, peer):
        """`peer` as in launch.json. Listens from now on, in a thread."""
        self.name = "rank %(rank)d at %(address)s" % peer
        self.address = peer["address"]
        self.heard = self.alive = self.moving = time.monotonic()
        self.seen = False
        self.said = ""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        source = importlib.resources.files(__package__).joinpath("processes.py").read_text("utf-8")
        command = "exec python3 -u -c %s" % shlex.quote(source)
        while True:
            child = subprocess.Popen(
                files.ssh(self.address, command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            assert child.stderr is not None
            for line in child.stdout:
                try:
                    self.hear(json.loads(line))
                except ValueError:
                    continue
            self.said = (child.stderr.read().strip().splitlines() or [""])[-1]
            child.wait()
            time.sleep(PEER_RETRY_S)

    def hear(self, states):
        """One line: the states of the rank's processes there."""
        self.heard = now = time.monotonic()
        living = [state for state in states if state != "Z"]
        if living or not self.seen:
            self.alive = now
        if not any(state in "Tt" for state in living):
            self.moving = now
        self.seen = self.seen or bool(living)

    def check(self):
        """Raises Ended when the worker is silent, its rank gone, or stopped."""
        now = time.monotonic()
        if now - self.heard > SILENCE_S:
            raise codes.Ended(
                codes.UNREACHABLE, "no sign of life from %s for %d s %s" % (self.name, SILENCE_S, self.said)
            )
        if now - self.alive > ENDED_S:
            raise codes.Ended(codes.RANK_DIED, "%s has ended" % self.name)
        if now - self.moving > STOPPED_S:
            raise codes.Ended(codes.HUNG, "%s is stopped" % self.name)
