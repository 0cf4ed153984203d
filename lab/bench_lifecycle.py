"""How long a deployment, a no-op and a switch take on the lab, beside an empty program's time.

usage: eval "$(scripts/env)"; sudo -E python -m lab.bench_lifecycle [--runs 5] [--probing-only]

And how long the look at eight nodes takes beside the look at one.

Starts labs of its own. Each figure is the median of all runs with its spread (smallest to largest), in
seconds of wall-clock time. "load" is the engine's own time, from its first log line to the one that says
that it serves; it is taken out where the text says so. Ratios to the floor carry over to other machines;
seconds do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from remote import node  # noqa: E402
from remote.ssh import Connection, SshShell  # noqa: E402
from tests.lab import stack as stacks  # noqa: E402

NAME = "bench"
MODELS = ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
POLL_S = 0.02
NODES = 8
"""As many as a Swarm of ours may have; all of the lab's share this machine's cores."""
LOOKS = 9
#: Of waiting without a core, as for a slow program of the node: what asking all at once is worth.
WAIT_S = 2
PROBE = {"hf_cache": "~/.cache/huggingface", "port": 8355}
#: The server and all of its parts, for a destroy that leaves the nodes prepared and the Swarm formed.
DEPLOYMENT = "urn:pulumi:lab::trtllm-dgx-spark::trtspark:index:TrtLlmDeployment**"


def timed(work: Callable[[], Any]) -> float:
    """Seconds of wall-clock time that `work` takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


class Downtime:
    """Seconds during which nothing answered at a URL, measured by asking all the time."""

    def __init__(self, url: str) -> None:
        """Starts to ask."""
        self.url, self.seconds, self._stop = url, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        last_answer = time.monotonic()
        while not self._stop.is_set():
            try:
                if requests.get(self.url, timeout=2).ok:
                    gap = time.monotonic() - last_answer
                    self.seconds = max(self.seconds, gap)
                    last_answer = time.monotonic()
            except requests.RequestException:
                pass
            time.sleep(POLL_S)

    def stop(self) -> float:
        """The longest gap between two answers."""
        self._stop.set()
        self._thread.join()
        return self.seconds


def empty_program(folder: Path, env: dict[str, str]) -> Callable[[], Any]:
    """An `up` of a program that declares nothing: the engine's own floor."""
    folder.mkdir()
    (folder / "state").mkdir()
    (folder / "Pulumi.yaml").write_text(
        f"name: empty\nruntime:\n  name: python\n  options:\n    virtualenv: {ROOT}/.venv\n"
    )
    (folder / "__main__.py").write_text("import pulumi\n")
    one = stacks.Stack(folder, {}, {**env, "PULUMI_BACKEND_URL": f"file://{folder}/state"})
    one.pulumi("stack", "init", "lab")
    one.up()
    return one.up


def load_seconds(stack: stacks.Stack) -> float:
    """The engine's own start, by its log: from its first line to the one that says it serves.

    What comes before (the container, the wait for the other ranks, mpirun) is ours and is not taken out.
    """
    log = stacks.inside(
        stack.lab,
        0,
        "docker logs --timestamps $(docker ps --quiet --filter label=trtspark.rank=0) 2>&1",
    )
    first, last = (
        next(line.split()[0] for line in log.splitlines() if sign in line)
        for sign in ("TensorRT LLM version", "Application startup complete")
    )
    return (_time(last) - _time(first)).total_seconds()


def _time(word: str) -> datetime:
    """Docker's nanoseconds are more than Python reads."""
    return datetime.fromisoformat(word[:26])


def measure(runs: int, folder: Path, lab: dict[str, Any]) -> dict[str, list[float]]:
    """All figures, a list of `runs` values each."""
    stack = stacks.create(folder / "project", lab)
    floor = empty_program(folder / "empty", stack.env)
    found: dict[str, list[float]] = defaultdict(list)
    stack.up()  # pulls the image
    stack.destroy()
    for run in range(runs):
        print(f"run {run + 1} of {runs}", file=sys.stderr, flush=True)
        found["empty program"].append(timed(floor))
        stack.set("model", MODELS[0])
        seconds = timed(stack.up)
        found["up, Docker as installed (less load)"].append(seconds - load_seconds(stack))
        found["up with nothing to do"].append(timed(stack.up))
        down = Downtime(f"{stack.output('endpoint')}/v1/models")
        stack.set("model", MODELS[1])
        seconds = timed(stack.up)
        gap, load = down.stop(), load_seconds(stack)
        found["switch (less load)"].append(seconds - load)
        found["switch, API down (less load)"].append(gap - load)
        found["engine's own load"].append(load)
        stack.pulumi("destroy", "--yes", "--skip-preview", "--target", DEPLOYMENT)
        seconds = timed(stack.up)
        found["up, nodes prepared (less load)"].append(seconds - load_seconds(stack))
        found["destroy"].append(timed(stack.destroy))
    return found


def probing(lab: dict[str, Any]) -> None:
    """Print how long the look at all nodes takes beside the look at one, and what it costs in CPU.

    Logins are open already, as for all but the first `pulumi` command of a minute. On Sparks every node has
    its own cores; here all of them share this machine's, so that the floor is CPU time by cores.
    """
    logins = [
        Connection(one["host"], one["user"], one["port"], one["host_key"], lab["identity"])
        for one in lab["nodes"]
    ]
    for login in logins:
        SshShell(login).run("true")
    spent, took = resource.getrusage(resource.RUSAGE_CHILDREN), defaultdict(list)
    for count in (1, len(logins)):
        some = logins[:count]
        for _ in range(LOOKS):
            took[count].append(timed(partial(_documents, some)))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = (used.ru_utime + used.ru_stime - spent.ru_utime - spent.ru_stime) / LOOKS / (1 + len(logins))
    theirs = statistics.median(_cpu_seconds(login) for login in logins for _ in range(3))
    one, all_ = (statistics.median(took[count]) for count in (1, len(logins)))
    cores = len(os.sched_getaffinity(0))
    floor = max(one, len(logins) * (ours + theirs) / cores)
    for count in (1, len(logins)):
        values = took[count]
        print(
            f"probing {count} node{'s' * (count > 1)}: {statistics.median(values) * 1000:4.0f} ms "
            f"({min(values) * 1000:.0f}-{max(values) * 1000:.0f}, {LOOKS} looks)"
        )
    print(f"probing {len(logins)} against 1: {all_ / one:.2f} times")
    print(f"CPU for one node: {theirs * 1000:.0f} ms on it, {ours * 1000:.0f} ms of ssh here")
    waited = [timed(partial(_documents, logins[:count], WAIT_S)) for count in (1, len(logins))]
    print(f"with {WAIT_S} s of waiting on each node, which needs no core: {waited[1] / waited[0]:.2f} times")
    print(f"floor of {len(logins)} on {cores} cores: {floor * 1000:.0f} ms; that {all_ / floor:.2f} times")


def _documents(logins: list[Connection], wait_s: float = 0) -> list[Any]:
    """The look itself: what preflight sends, to all at once, without judging the answers.

    `wait_s`: so long each node does nothing before.
    """
    script, command = node.program(probe="look"), node.command({"probe": PROBE})
    if wait_s:
        command = f"sleep {wait_s}; {command}"
    with ThreadPoolExecutor(len(logins)) as pool:
        answers = list(pool.map(lambda one: SshShell(one).run(command, script, 60), logins))
    return [node.answer(answer.out)["probe"] for answer in answers]


def _cpu_seconds(login: Connection) -> float:
    """User and system time of one look on a node: of Python and all that it starts, without Docker's own."""
    command = f"{node.command({'probe': PROBE})} >/dev/null; times"
    said = SshShell(login).run(command, node.program(probe="look"), 60).out.split()[2:]
    return sum(int(minutes) * 60 + float(seconds) for minutes, seconds in (w[:-1].split("m") for w in said))


@contextmanager
def running(name: str, nodes: int) -> Iterator[dict[str, Any]]:
    """A lab for as long as it takes; its lab.json."""
    words = [sys.executable, "-m", "lab"]
    up = [*words, "up", "--name", name, "--nodes", str(nodes), *stacks.PREPARED]
    subprocess.run(up, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    try:
        yield json.loads((ROOT / ".lab" / name / "lab.json").read_text())
    finally:
        subprocess.run([*words, "down", "--name", name], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--probing-only", action="store_true", help="only the look at eight nodes and at one")
    args = parser.parse_args()
    if not args.probing_only:
        with running(NAME, 2) as lab, tempfile.TemporaryDirectory() as folder:
            found = measure(args.runs, Path(folder), lab)
        floor = statistics.median(found["empty program"])
        print(f"{'':42} median  spread          x empty program   ({args.runs} runs)")
        for what, values in found.items():
            middle = statistics.median(values)
            spread = f"{min(values):.1f}-{max(values):.1f}"
            print(f"{what:42} {middle:5.1f} s  {spread:>12} s  {middle / floor:6.1f}")
    with running(f"{NAME}-{NODES}", NODES) as lab:
        probing(lab)


if __name__ == "__main__":
    main()
