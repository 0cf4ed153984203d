"""A deployed pair to break: what is done to it, what is seen of it, and what must not be left behind.

Used by lab/faults.py and lab/soak.py; lab/fault_list.py says what is done.
"""

from __future__ import annotations

import difflib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from remote.rank0 import completion
from tests.lab import stack as stacks

MODELS = ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
HEAD, WORKER = 0, 1
POLL_S = 0.05
ASK_S = 2.0
#: Few, so that a gap is noticed soon.
ASK_TOKENS = 8
#: It serves again when it has answered completions for so long without a gap.
HOLD_S = 2.0
#: What a fault leaves running for a moment (ssh's keepalive, Swarm's clean-up) is gone within this.
TIDY_S = 60.0
#: Swarm gives a server up after five ends within an hour: faults are spread over days, not over minutes.
ENDS_BEFORE_RESET = 2

#: What runs and what lies around, as sorted text without ids: the same before a fault and after its end.
INVENTORY = r"""
docker service ls --format 'service {{.Name}} {{.Replicas}}' 2>/dev/null | sort
docker secret ls --format 'secret {{.Name}}' 2>/dev/null | sort
docker config ls --format 'config {{.Name}}' 2>/dev/null | sort
docker node ls --format 'node {{.Hostname}} {{.Status}}' 2>/dev/null | sort
docker network ls --format 'network {{.Name}} {{.Driver}}' | sort
docker volume ls --format 'volume {{.Name}}' | sort
docker ps --filter label=trtspark.rank --format 'rank {{.Label "trtspark.rank"}} {{.State}}' | sort
docker info --format 'swarm {{.Swarm.LocalNodeState}}'
ps -eo args | awk '{ name = $1; sub(".*/", "", name) }
  name == "mpirun" || name == "orted" { count[name]++ }
  name == "docker" && $2 == "exec" { count["docker exec"]++ }
  name == "python3" && /rank0.pyz serve/ { count["trtllm-serve"]++ }
  name == "python3" && /mgmn_(leader|worker)_node/ { count["rank"]++ }
  END { for (name in count) print "process", name, count[name] }' | sort
find /home/nvidia/.trtspark /var/lib/trtspark /run/lock -type f 2>/dev/null | sort
find /tmp /dev/shm -maxdepth 1 -name '*trtspark*' | sort
"""
#: What is the user's: every file at home, by content, and Docker's settings.
FILES = r"""
find /home/nvidia \( -path /home/nvidia/.trtspark -o -path /home/nvidia/.local/state/trtspark \) -prune \
  -o -type f ! -name .sudo_as_admin_successful \
  ! -name authorized_keys -print0 | sort -z | xargs -0 md5sum
grep -v trtspark-mpi /home/nvidia/.ssh/authorized_keys
cat /etc/docker/daemon.json /etc/nvidia-container-runtime/config.toml 2>/dev/null || true
"""


@dataclass
class Pair:
    """The lab, its stack, and what they looked like when all was well."""

    lab: dict[str, Any]
    stack: stacks.Stack
    baseline: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    ends: int = 0
    model: str = MODELS[0]

    @staticmethod
    def deployed(lab: dict[str, Any], folder: Path) -> Pair:
        """Deploy on the lab, whose nodes are as their owner left them."""
        pair = Pair(lab, stacks.create(folder, lab))
        pair.stack.set("nodes", pair.hosts(HEAD, WORKER))
        pair.stack.set("model", pair.model)
        pair.stack.set("readyTimeout", 120)
        pair.stack.set("drainSeconds", 2)
        pair.stack.up()
        pair.remember()
        return pair

    def remember(self) -> None:
        """What is there now is how it has to be after every fault."""
        self.baseline = self.look(INVENTORY)
        self.files = self.look(FILES)

    def hosts(self, *nodes: int) -> list[dict[str, str]]:
        """The configuration's `nodes`."""
        return [{"host": self.lab["nodes"][node]["host"]} for node in nodes]

    @property
    def url(self) -> str:
        """Of the API; the head's address is what reached it."""
        return f"http://{self.lab['nodes'][HEAD]['host']}:8355"

    # --- what is done

    def inside(self, node: int, script: str) -> str:
        """A script as root inside a node; its output."""
        return stacks.inside(self.lab, node, script)

    def power(self, switch: str, *nodes: int) -> None:
        """Cut (off) or give (on) the power of nodes, all at about the same time."""
        for node in nodes:
            stacks.lab_command(self.lab, "power", switch, self.lab["nodes"][node]["name"])

    def link(self, switch: str, node: int, *links: str) -> None:
        """Pull (down) or plug (up) cables of a node."""
        for link in links:
            stacks.lab_command(self.lab, "link", switch, self.lab["nodes"][node]["name"], link)

    def engine(self, node: int, number: str) -> None:
        """A signal to the processes of a node's rank."""
        what = "rank0.pyz serve trtllm-serve" if node == HEAD else "mgmn_worker_node"
        awk = f"$2 ~ /python3$/ && /{what}/ {{ print $1 }}"
        self.inside(node, f"ps -eo pid,args | awk '{awk}' | xargs kill -{number}")

    def container(self, node: int) -> str:
        """The id of the node's rank container."""
        return self.inside(node, "docker ps --quiet --no-trunc --filter label=trtspark.rank").strip()

    def switch(self, model: str, ok: bool = True) -> stacks.Run:
        """Serve another model."""
        self.stack.set("model", model)
        run = self.stack.up(ok=ok)
        if run.code == 0:
            self.model = model
        return run

    def forgive(self) -> None:
        """Let Swarm count the server's ends anew, as an hour without faults does."""
        self.ends += 1
        if self.ends < ENDS_BEFORE_RESET:
            return
        self.inside(HEAD, "docker service update --force --quiet trtspark-lab-rank-0 >/dev/null")
        stacks.until(lambda: self.answers(), 120, "the server after its restart")
        self.ends = 0

    def killed(self, *words: str, when: Callable[[list[str]], bool]) -> bool:
        """Start `pulumi WORDS` and SIGKILL all of it when `when` holds for the lines of its event log.

        Returns whether it was killed: False when it ended before.
        """
        log = self.stack.folder / "events.jsonl"
        log.unlink(missing_ok=True)
        self.stack.env["PULUMI_DEBUG_COMMANDS"] = "1"
        child = self.stack.start(*words, "--event-log", str(log))
        deadline = time.monotonic() + stacks.DEADLINE_S
        while child.poll() is None and time.monotonic() < deadline:
            if log.exists() and when(log.read_text().splitlines()):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return True
            time.sleep(0.01)
        child.wait(1)
        return False

    # --- what is seen

    def answers(self, model: str | None = None) -> bool:
        """Whether a short completion comes from the model (that the stack serves, unless told)."""
        body = completion.body(model or self.model, ASK_TOKENS)
        try:
            found = requests.get(f"{self.url}/v1/models", timeout=ASK_S).json()["data"][0]["id"]
            if found != body["model"]:
                return False
            said = requests.post(f"{self.url}/v1/chat/completions", json=body, timeout=ASK_S)
            return completion.fault(said.status_code, said.text) == ""
        except (requests.RequestException, ValueError, LookupError):
            return False

    def look(self, script: str) -> list[str]:
        """A script's output on each node that has power."""
        return [self.inside(index, script) for index in range(len(self.lab["nodes"]))]

    def left_behind(self) -> list[str]:
        """What differs from before, as lines; waits a moment for what ends by itself."""
        deadline = time.monotonic() + TIDY_S
        while True:
            found = [*_different(self.baseline, self.look(INVENTORY)), *self._operators()]
            if not found or time.monotonic() > deadline:
                break
            time.sleep(1)
        return [*found, *(f"user's file {line}" for line in _different(self.files, self.look(FILES)))]

    def _operators(self) -> list[str]:
        """Locks and processes that commands left on the operator's machine (not ssh's shared logins)."""
        locks = [f"lock {path}" for path in self.stack.folder.glob("state/.pulumi/locks/**/*.json")]
        return [*locks, *(f"process {words}" for words in operator_processes(self.stack))]


def _different(before: Iterable[str], after: Iterable[str]) -> list[str]:
    found = []
    for number, (old, new) in enumerate(zip(before, after, strict=False), start=1):
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        found += [f"spark-{number} {line}" for line in lines if line[:2] not in ("--", "++", "@@")]
    return found


def operator_processes(stack: stacks.Stack) -> list[str]:
    """Command lines of the processes that belong to a stack's commands."""
    mark = f"PULUMI_BACKEND_URL=file://{stack.folder}/".encode()
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal() or int(place.name) == os.getpid():
            continue
        try:
            if mark in (place / "environ").read_bytes():
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(words.strip()[:120])
        except OSError:
            continue
    return [words for words in found if words and not words.startswith("ssh")]


class Watch:
    """Asks for completions all the time: when the first one failed, and since when they come again."""

    def __init__(self, pair: Pair) -> None:
        """Starts to ask."""
        self.pair, self.started = pair, time.monotonic()
        self.noticed: float | None = None
        self.well_since: float | None = self.started
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.is_set():
            asked = time.monotonic()
            if self.pair.answers():
                self.well_since = self.well_since or time.monotonic()
            else:
                # A question that got no answer: from when it was asked.
                if self.noticed is None:
                    self.noticed = asked - self.started
                self.well_since = None
            self._stop.wait(POLL_S)

    def gap(self, seconds: float) -> bool:
        """Whether a completion fails within so many seconds."""
        return _within(seconds, lambda: self.noticed is not None)

    def well(self, seconds: float) -> float | None:
        """Seconds from the start until completions came again for good; None when they do not in time."""
        found: list[float] = []

        def steady() -> bool:
            since = self.well_since
            if since is None or time.monotonic() - since < HOLD_S:
                return False
            found.append(since - self.started)
            return True

        return found[0] if _within(seconds, steady) else None

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def lab(name: str, nodes: int = 2) -> dict[str, Any]:
    """A lab of this name with fresh nodes; its lab.json."""
    import json
    import sys

    for words in (("down",), ("up", "--nodes", str(nodes), *stacks.PREPARED)):
        subprocess.run(
            [sys.executable, "-m", "lab", words[0], "--name", name, *words[1:]],
            cwd=stacks.ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    found: dict[str, Any] = json.loads((stacks.ROOT / ".lab" / name / "lab.json").read_text())
    return found
