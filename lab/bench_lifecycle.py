"""How long a deployment, a no-op and a switch take on the lab, beside an empty program's time.

usage: eval "$(scripts/env)"; sudo -E python -m lab.bench_lifecycle [--runs 5]

Starts a lab of its own. Each figure is the median of all runs with its spread (smallest to largest), in
seconds of wall-clock time. "load" is the engine's own time, from its first log line to the one that says
that it serves; it is taken out where the text says so. Ratios to the floor carry over to other machines;
seconds do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.lab import stack as stacks  # noqa: E402

NAME = "bench"
MODELS = ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
POLL_S = 0.02
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    words = [sys.executable, "-m", "lab"]
    up = [*words, "up", "--name", NAME, *stacks.PREPARED]
    subprocess.run(up, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    try:
        lab = json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())
        with tempfile.TemporaryDirectory() as folder:
            found = measure(args.runs, Path(folder), lab)
    finally:
        subprocess.run([*words, "down", "--name", NAME], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    floor = statistics.median(found["empty program"])
    print(f"{'':42} median  spread          x empty program   ({args.runs} runs)")
    for what, values in found.items():
        middle = statistics.median(values)
        spread = f"{min(values):.1f}-{max(values):.1f}"
        print(f"{what:42} {middle:5.1f} s  {spread:>12} s  {middle / floor:6.1f}")


if __name__ == "__main__":
    main()
