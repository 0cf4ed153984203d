"""A pair under load, with switches and faults at random: it has to end serving, with nothing leaked.

usage: eval "$(scripts/env)"; sudo -E python -m lab.soak [--minutes 30] [--switches 10] [--seed 1]

Starts a lab of its own and deploys through Pulumi. Clients ask for completions all the time; between faults
that the pair has to survive by itself, `up` switches from one model to the other. At the end it serves, and
nothing has grown without end: containers, processes, file descriptors and memory of dockerd and containerd on
each node, and what commands leave on the operator's machine.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from lab.fault_list import FAULTS, ITSELF, Fault  # noqa: E402
from lab.fault_pair import MODELS, Pair, operator_processes  # noqa: E402
from lab.fault_pair import lab as fresh_lab  # noqa: E402
from lab.faults import line, run  # noqa: E402

NAME = "soak"
CLIENTS = 2
PAUSE_S = 0.5
REQUEST_TIMEOUT_S = 30
#: A hang takes minutes to be told from a slow answer while clients wait; a switch that fails takes two loads.
SKIPPED = ("hang-rank-0", "crash-at-load", "out-of-memory", "never-ready", "slow-load")
#: Of processes and descriptors, and of memory: what caches and connections that come and go may add.
MORE, TIMES = 12, 1.6

#: One number a line, the same names on every node.
GAUGES = r"""
echo "containers running $(docker ps --quiet | wc -l)"
echo "containers $(docker ps --all --quiet | wc -l)"
echo "processes $(ps -e --no-headers | wc -l)"
echo "images $(docker images --quiet | wc -l)"
for name in dockerd containerd; do
  pid=$(pgrep -ox "$name")
  echo "$name descriptors $(find /proc/$pid/fd -mindepth 1 | wc -l)"
  echo "$name MiB $(($(awk '/VmRSS/ { print $2 }' /proc/$pid/status) / 1024))"
done
"""
#: Swarm keeps the last five ended tasks of a service, to be looked at.
KEPT = {"containers": 6}


@dataclass
class Load:
    """Clients that ask all the time; what became of their requests."""

    pair: Pair
    answered: int = 0
    refused: int = 0
    hung: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(PAUSE_S):
            body = {
                "model": self.pair.model,
                "messages": [{"role": "user", "content": "Tell me more"}],
                "max_tokens": 16,
            }
            try:
                url = f"{self.pair.url}/v1/chat/completions"
                code = requests.post(url, json=body, timeout=REQUEST_TIMEOUT_S).status_code
                answered, hung = code == 200, False
            except requests.Timeout:
                answered, hung = False, True
            except requests.RequestException:
                answered, hung = False, False
            with self._lock:
                self.answered += answered
                self.hung += hung
                self.refused += not answered and not hung

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def gauges(pair: Pair) -> list[dict[str, int]]:
    """Every node's numbers, by name."""
    found = []
    for text in pair.look(GAUGES):
        rows = [row.rpartition(" ") for row in text.splitlines()]
        found.append({name: int(value) for name, _, value in rows if value.isdecimal()})
    return found


def grown(before: list[dict[str, int]], after: list[dict[str, int]]) -> list[str]:
    """What has grown more than what comes and goes, a line each."""
    found = []
    for number, (old, new) in enumerate(zip(before, after, strict=True), start=1):
        for name, value in new.items():
            most = max(old[name] + KEPT.get(name, MORE), int(old[name] * TIMES) if "MiB" in name else 0)
            if value > most:
                found.append(f"spark-{number}: {name} was {old[name]}, is {value}")
    return found


def soak(pair: Pair, minutes: float, switches: int, seed: int) -> list[str]:
    """Run it and print what happens; what is wrong at the end, a line each."""
    chance = random.Random(seed)
    faults = [
        one for one in FAULTS if one.how == ITSELF and one.name not in SKIPPED and "disk" not in one.name
    ]
    load, wrong = Load(pair), []
    load.start()
    started, end = time.monotonic(), time.monotonic() + minutes * 60
    before, switched = gauges(pair), 0
    while time.monotonic() < end or switched < switches:
        due = started + minutes * 60 * switched / max(switches, 1)
        if switched < switches and time.monotonic() >= due:
            pair.switch(MODELS[1] if pair.model == MODELS[0] else MODELS[0])
            switched += 1
            print(f"{_at(started)} switch {switched} to {pair.model}", flush=True)
            continue
        fault: Fault = chance.choice(faults)
        row = run(pair, fault)
        print(f"{_at(started)} {line(row)}", flush=True)
        wrong += [f"{row.name}: {row.wrong}"] if row.wrong else []
    after = gauges(pair)
    if not pair.answers():
        wrong.append(f"{pair.model} does not answer at the end")
    load.stop()
    wrong += [*grown(before, after), *(f"operator's process {one}" for one in operator_processes(pair.stack))]
    late = f"{load.hung} not within {REQUEST_TIMEOUT_S} s"
    print(f"requests: {load.answered} answered, {load.refused} refused, {late}")
    print(f"{'gauge':24}" + "".join(f" spark-{n} before  after" for n in range(1, len(before) + 1)))
    for name in before[0]:
        cells = "".join(f" {old[name]:14} {new[name]:6}" for old, new in zip(before, after, strict=True))
        print(f"{name:24}{cells}")
    return wrong


def _at(started: float) -> str:
    seconds = int(time.monotonic() - started)
    return f"{seconds // 60:3}:{seconds % 60:02}"


def main() -> int:
    """Print the table; 1 when something is wrong at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--switches", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            pair = Pair.deployed(fresh_lab(NAME), Path(folder) / "project")
            wrong = soak(pair, args.minutes, args.switches, args.seed)
        finally:
            down = [sys.executable, "-m", "lab", "down", "--name", NAME]
            subprocess.run(down, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    print("\n".join(wrong) or "It serves, and nothing has leaked.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
