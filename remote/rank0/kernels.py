"""The engine's compiled kernels and tuned tactics, kept on every node from one start to the next.

The engine checks little of what it finds: a half-written file ends every start, tactics of another image,
model or split are used as they are, and a rank that has tactics does not wait for one that has none, which
then waits for ever. So the folders are
- chosen by image, model, split and rank, in the name of the folder;
- good only after a start that answered a completion has sealed them, with its own id;
- reused only when all ranks' have the seal of the same start, and emptied on all ranks otherwise;
- unsealed at each start. After one that fails before it answers, the next begins with empty folders.
"""

import hashlib
import importlib.resources
import json
import os
import shlex
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from . import codes, files, kernel_folder
from .codes import say
from .kernel_folder import ANEW, REUSE, WITHOUT

COMPILES = "no compiled kernels for this image, model and split yet: this start compiles and keeps them"
TIMEOUT_S = 120
#: An engine that ends so soon after its first completion may have been ended by its kernels.
SUSPECT_S = 120
#: After these nobody knows whether the kernels were the reason, however late.
_SUSPICIOUS = (codes.HUNG, codes.UNHEALTHY, codes.FAILING)


def prepare(launch, model):
    """Open the folders on every rank's node, before the launch, and log what the engine will find there.
    `model`: what the command serves.

    Raises Ended when a rank does not answer: its container may still be linked to another model's folder.
    """
    plan = launch.get("kernels")
    if not plan:
        return Kernels(launch, "", WITHOUT)
    common, why = folder_name(os.environ.get("TRTSPARK_IMAGE", ""), plan["key"], model)
    nodes = [_Node(rank, plan, common) for rank in launch["ranks"]]
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            seen = list(pool.map(_Node.hear, nodes))
            how, trouble = choose(seen)
            if not common:
                how, trouble = WITHOUT, why
            opened = list(pool.map(lambda node: node.ask(how), nodes))
            failed = [one["trouble"] for one in opened if one["trouble"]]
            if failed and how != WITHOUT:
                how, trouble = WITHOUT, failed[0]
                list(pool.map(lambda node: node.ask(how), nodes))
    finally:
        for node in nodes:
            node.close()
    say(_message(how, trouble))
    removed = sum(one["removed"] for one in seen)
    if removed:
        say("removed %d folders of compiled kernels to make room" % removed)
    return Kernels(launch, common, how)


def folder_name(image, key, model):
    """(a folder's name without the rank, why there is none). `image`: by digest, as the service has it;
    `model`: what the command serves.
    """
    digest = image.partition("@")[2]
    if not digest:
        return "", "the image has no digest (pullImage: false)"
    if not key:
        return "", "the model's revision is not known"
    # The release and the model too: somebody may have put others into the service by hand.
    told = "%s %s %s" % (digest, os.environ.get("TRT_LLM_VERSION", ""), model)
    return "%s-%s" % (hashlib.sha256(told.encode()).hexdigest()[:12], key), ""


def choose(seen):
    """(what to do with the folders, why nothing can be kept), from every rank's kernel_folder.look."""
    for rank, one in enumerate(seen):
        if one["trouble"]:
            return WITHOUT, "rank %d: %s" % (rank, one["trouble"])
    seals = {one["sealed"] for one in seen}
    return (REUSE, "") if len(seals) == 1 and seals != {""} else (ANEW, "")


def _message(how, trouble):
    if how == REUSE:
        return "reusing the kernels that an earlier start compiled for this image, model and split"
    if how == ANEW:
        return COMPILES
    return "compiled kernels are not kept, so every start compiles again: %s" % trouble


class Kernels:
    """The folders of one launch."""

    def __init__(self, launch, common, how):
        """`common`: the folders' name without the rank."""
        self.launch, self.common, self.kept = launch, common, how != WITHOUT
        self.answered = 0.0
        self.suspected = False
        self.lock = threading.Lock()

    def check(self, ready):
        """Seal the folders after the first completion (`ready`)."""
        if ready and not self.answered:
            self.answered = time.monotonic()
            if self.kept:
                threading.Thread(target=self.seal, daemon=True).start()

    def seal(self):
        """Seal every rank's folder, rank 0's last: without its seal nothing is reused."""
        start = uuid.uuid4().hex
        plan, ranks = self.launch["kernels"], self.launch["ranks"]
        for rank in reversed(ranks):
            words = _program("seal", plan["volume"], _key(self.common, rank), start)
            with self.lock:
                if self.suspected:
                    return
                done = _run(rank, words, stdin=subprocess.DEVNULL)
                try:
                    _, said = done.communicate(timeout=TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    done.kill()
                    done.communicate()
                    said = "no answer within %d s" % TIMEOUT_S
            if done.returncode:
                last = (said.strip().splitlines() or ["exit code %d" % done.returncode])[-1]
                say("the compiled kernels of rank %d cannot be kept: %s" % (rank["rank"], last))
                return

    def ended(self, code):
        """Unseal the folders when the launch ended on its own, with this code, and they may be the reason."""
        soon = time.monotonic() - self.answered < SUSPECT_S
        if self.kept and self.answered and (code in _SUSPICIOUS or (soon and code != codes.UNREACHABLE)):
            self.suspected = True
            got = self.lock.acquire(timeout=TIMEOUT_S)  # a seal that is being made comes first
            try:
                kernel_folder.unseal(
                    self.launch["kernels"]["volume"], _key(self.common, self.launch["ranks"][0])
                )
            except OSError as error:
                say("the compiled kernels cannot be marked as suspect: %s" % error)
                return
            finally:
                if got:
                    self.lock.release()
            say("the next start compiles its kernels again, in case these were the reason")


class _Node:
    """kernel_folder's `serve` in one rank's container."""

    def __init__(self, rank, plan, common):
        self.rank = rank["rank"]
        words = _program("serve", plan["volume"], plan["link"], _key(common, rank))
        self.child = _run(rank, words, stdin=subprocess.PIPE)
        self.timer = threading.Timer(TIMEOUT_S, self.child.kill)
        self.timer.daemon = True
        self.timer.start()

    def hear(self):
        """The next answer. Raises Ended when there is none."""
        try:
            found = json.loads(self.child.stdout.readline())
        except ValueError:
            self.child.kill()
            said = (self.child.stderr.read().strip().splitlines() or ["no answer within %d s" % TIMEOUT_S])[
                -1
            ]
            raise codes.Ended(
                codes.UNREACHABLE,
                "the folder for compiled kernels of rank %d cannot be prepared: %s" % (self.rank, said),
            ) from None
        return found

    def ask(self, how):
        """The outcome of opening the folder in this way."""
        try:
            self.child.stdin.write(how + "\n")
            self.child.stdin.flush()
        except OSError:
            pass  # it has ended: there will be no answer either
        return self.hear()

    def close(self):
        """End it: it has answered all that it was asked."""
        self.timer.cancel()
        self.child.kill()
        self.child.communicate()


def _key(common, rank):
    return "%s-rank-%d" % (common, rank["rank"]) if common else ""


def _program(*words):
    source = importlib.resources.files(__package__).joinpath("kernel_folder.py").read_text("utf-8")
    return ["python3", "-c", source, *words]


def _run(rank, words, stdin):
    """Start it in the rank's container; rank 0's is this one."""
    if rank["rank"]:
        words = files.ssh(rank["address"], shlex.join(words))
    else:
        words = [sys.executable, *words[1:]]
    return subprocess.Popen(
        words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
