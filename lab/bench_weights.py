"""How fast the weights get onto the nodes of a lab, beside rsync and the least that could be done.

usage: eval "$(scripts/env)"; sudo -E python -m lab.bench_weights [--runs 3] [--gib 3] [--parts …]

Starts a lab of four nodes of its own; the caches lie in the nodes' memory (tmpfs), as a Spark's disk writes
several GB/s and this machine's may not. Each figure is the median of all runs with its spread, in seconds of
wall-clock time from the first login to the last file verified; ratios are taken within one run.

"bare pipeline" only moves, hashes and writes: one connection for each stream, files dealt out in turn, no
protocol, no journal, no links, its time counted from the first byte. "raw TCP" is the same from memory to
memory without hash and file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lab import cgroups, models
from lab.hub.content import git_blob, sha256
from lab.hub.server import Hub
from remote import weights
from remote.ssh import Connection, SshShell

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
NAME = "benchw"
CACHE = "/home/nvidia/bench"
NODES = 4
PARTS = ("check", "fan-out", "download", "copy")
#: What the shaped links carry each, Mbit/s: far below what two cores can move.
LINK_MBIT = 200
#: What the shaped Hub gives in all, bytes/s.
HUB_RATE = 25e6

_SEND = """
import os, socket, sys, threading
addresses, paths, memory = ARGS
def serve(server, mine):
    connection, _ = server.accept()
    block = memoryview(bytearray(1 << 20))
    for path in mine:
        size = os.path.getsize(path)
        if memory:
            for _ in range(size >> 20):
                connection.sendall(block)
            connection.sendall(block[:size % (1 << 20)])
            continue
        with open(path, "rb") as source:
            sent = 0
            while sent < size:
                sent += os.sendfile(connection.fileno(), source.fileno(), sent, size - sent)
    connection.close()
servers = [socket.create_server((address, 0)) for address in addresses]
print([server.getsockname()[1] for server in servers], flush=True)
count = len(servers)
threads = [threading.Thread(target=serve, args=(s, paths[i::count])) for i, s in enumerate(servers)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""

_RECEIVE = """
import hashlib, os, socket, threading, time
ends, files, memory = ARGS
def take(address, port, mine):
    connection = socket.create_connection((address, port))
    view = memoryview(bytearray(1 << 20))
    for path, size in mine:
        target = -1 if memory else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        digest, got = hashlib.sha256(), 0
        while got < size:
            count = connection.recv_into(view, min(1 << 20, size - got), socket.MSG_WAITALL)
            if not memory:
                digest.update(view[:count])
                os.pwrite(target, view[:count], got)
            got += count
        digest.hexdigest()
count = len(ends)
started = time.monotonic()
threads = [threading.Thread(target=take, args=(*e, files[i::count])) for i, e in enumerate(ends)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(time.monotonic() - started, sum(os.times()[:2]))
"""


class Bench:
    """A lab's nodes, and the ways to put a model on them."""

    def __init__(self, lab: dict[str, Any], hub: Hub) -> None:
        self.lab, self.hub = lab, hub
        self.connections = [
            Connection(node["host"], node["user"], node["port"], node["host_key"], lab["identity"])
            for node in lab["nodes"]
        ]
        self.fabric = [node["fabric"] for node in lab["nodes"]]

    def root(self, node: int, script: str) -> str:
        """A script as root inside a node; its output."""
        words = ["exec", "--name", NAME, self.lab["nodes"][node]["name"], "--", "bash", "-c", script]
        return _lab(*words)

    def props(self, model: str, nodes: Sequence[int]) -> dict[str, Any]:
        """ModelWeights' inputs for a lab model on some of the nodes."""
        found = models.find(model)
        assert found is not None
        return {
            "stack": "bench",
            "model": model,
            "revision": models.commit(found),
            "hfCache": f"{CACHE}/hf",
            "connections": [self.connections[node].as_props() for node in nodes],
            "endpoint": self.hub.url,
            "files": _files(model),
            "extras": [],
            "fetch": True,
            "halves": [
                [[f"half{half}", address, ""] for half, address in enumerate(self.fabric[node])]
                for node in nodes
            ],
            "streams": 0,
            "tiktokenFolder": "",
            "deleteOnDestroy": False,
            "missing": {},
        }

    def ensure(self, model: str, nodes: Sequence[int]) -> float:
        """Seconds until the model is on these nodes."""
        return timed(lambda: weights.ensure(self.props(model, nodes), "", lambda _line: None))

    def clear(self, nodes: Sequence[int]) -> None:
        """No files and no records."""
        for node in nodes:
            self.root(node, f"rm -rf {CACHE}/* /home/nvidia/.local/state/trtspark")

    def blobs(self, model: str) -> list[str]:
        """The model's large files on a node, by path."""
        folder = f"{CACHE}/hf/hub/models--{model.replace('/', '--')}/blobs"
        return [f"{folder}/{file['digest']}" for file in _files(model) if file["lfs"]]

    def rsync(self, model: str) -> float:
        """Seconds of `rsync -a` of the model from node 0 to node 1, over half 0 and ssh."""
        source = f"{CACHE}/hf/hub/models--{model.replace('/', '--')}"
        command = (
            f"rsync -a -e 'ssh -i {CACHE}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
            f"-o LogLevel=ERROR' {source} nvidia@{self.fabric[1][0]}:{CACHE}/rsync/"
        )
        shell = SshShell(self.connections[0])
        return timed(lambda: _run(shell, command))

    def bare(self, model: str, streams: int, memory: bool) -> tuple[float, float]:
        """(seconds, processor seconds of the receiver) of the least that could be done."""
        sizes = [file["size"] for file in _files(model) if file["lfs"]]
        addresses = [self.fabric[0][i % 2] for i in range(streams)]
        sender = subprocess.Popen(
            [*_ssh(self.connections[0]), "python3 -"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert sender.stdin
        assert sender.stdout
        sender.stdin.write(f"ARGS = {(addresses, self.blobs(model), memory)!r}\n{_SEND}")
        sender.stdin.close()
        ports = json.loads(sender.stdout.readline())
        files = [(f"{CACHE}/bare-{i}", size) for i, size in enumerate(sizes)]
        program = f"ARGS = {(list(zip(addresses, ports, strict=True)), files, memory)!r}\n{_RECEIVE}"
        said = SshShell(self.connections[1]).run("python3 -", stdin=program, timeout=600)
        sender.wait()
        assert not said.code, said.err
        seconds, processor = map(float, said.out.split())
        return seconds, processor

    def processor(self) -> float:
        """Processor seconds that everything in the nodes has used: what a busy machine does not distort."""
        return sum(_used(f"{self.lab['id']}/{node['name']}") for node in self.lab["nodes"])

    def costing(self, work: Callable[[], T]) -> tuple[T, float]:
        """What `work` returns, and the processor seconds in the nodes that it took."""
        before = self.processor()
        return work(), self.processor() - before

    def shape(self, mbit: int | None) -> None:
        """Limit what every node sends into each half of the fabric; None: no limit."""
        for node in range(NODES):
            for interface in ("enp1s0f0np0", "enP2p1s0f0np0"):
                script = f"tc qdisc del dev {interface} root 2>/dev/null || true"
                if mbit:
                    script += (
                        f"; tc qdisc add dev {interface} root tbf rate {mbit}mbit burst 256k latency 100ms"
                    )
                self.root(node, script)


def timed(work: Callable[[], Any]) -> float:
    """Seconds of wall-clock time that `work` takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _used(group: str) -> float:
    """A control group's processor seconds, by whichever version there is."""
    first = cgroups.MOUNT / "cpuacct" / group / "cpuacct.usage"
    if first.exists():
        return int(first.read_text()) / 1e9
    lines = (cgroups.MOUNT / group / "cpu.stat").read_text().split()
    return int(lines[lines.index("usage_usec") + 1]) / 1e6


def _files(model: str) -> list[dict[str, Any]]:
    found = models.find(model)
    assert found is not None
    return [
        {
            "path": path,
            "size": content.size,
            "digest": sha256(content) if models.in_lfs(path) else git_blob(content.read(0, content.size)),
            "lfs": models.in_lfs(path),
        }
        for path, content in sorted(models.files(found).items())
    ]


def _ssh(connection: Connection) -> list[str]:
    shell = SshShell(connection)
    return [*shell._ssh(), shell._destination()]


def _run(shell: SshShell, command: str) -> None:
    done = shell.run(command, timeout=600)
    assert not done.code, done.err


def _lab(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def prepare(bench: Bench) -> None:
    """Caches in memory, and a way by ssh from node 0 to node 1 for rsync."""
    for node in range(NODES):
        bench.root(
            node,
            f"mkdir -p {CACHE}; mountpoint -q {CACHE} || mount -t tmpfs -o size=9g,mode=755 bench {CACHE}; "
            f"chown nvidia: {CACHE}",
        )
    for connection in bench.connections:
        _run(SshShell(connection), "true")


def rsync_key(bench: Bench) -> None:
    """A key of this bench's lab alone."""
    shell = SshShell(bench.connections[0])
    _run(shell, f"rm -f {CACHE}/key*; ssh-keygen -q -t ed25519 -N '' -f {CACHE}/key")
    public = shell.run(f"cat {CACHE}/key.pub").out.strip()
    line = shlex.quote("\n" + public)
    _run(SshShell(bench.connections[1]), f"echo {line} >> ~/.ssh/authorized_keys")


def copies(bench: Bench, runs: int, gib: int, found: dict[str, list[float]]) -> None:
    """One receiver, as fast as this machine can."""
    model = f"lab/bulk-8x{gib * 128}M"
    bench.clear(range(NODES))
    print(f"filling node 1 with {model}", file=sys.stderr, flush=True)
    bench.ensure(model, [0])
    rsync_key(bench)
    size = sum(file["size"] for file in _files(model))
    for run in range(runs):
        print(f"copy: run {run + 1} of {runs}", file=sys.stderr, flush=True)
        bench.clear([1])
        ours, ours_cost = bench.costing(lambda: bench.ensure(model, [0, 1]))
        bench.clear([1])
        _run(SshShell(bench.connections[1]), f"mkdir -p {CACHE}/rsync")
        rsync, rsync_cost = bench.costing(lambda: bench.rsync(model))
        bench.clear([1])
        (floor, processor), floor_cost = bench.costing(lambda: bench.bare(model, 4, memory=False))
        bench.clear([1])
        raw, _ = bench.bare(model, 2, memory=True)
        found["copy to one node"].append(ours)
        found["rsync -a over ssh"].append(rsync)
        found["bare pipeline"].append(floor)
        found["raw TCP, memory to memory"].append(raw)
        found["x rsync (3 or more)"].append(rsync / ours)
        found["x bare pipeline (0.8 or more)"].append(floor / ours)
        found["x raw TCP"].append(raw / ours)
        found["GB/s"].append(size / ours / 1e9)
        found["GB per core-second of both nodes: ours"].append(size / ours_cost / 1e9)
        found["GB per core-second of both nodes: rsync"].append(size / rsync_cost / 1e9)
        found["GB per core-second of both nodes: bare pipeline"].append(size / floor_cost / 1e9)
        found["x rsync, by processor time"].append(rsync_cost / ours_cost)
        found["x bare pipeline, by processor time"].append(floor_cost / ours_cost)
        found["bare pipeline: GB per core-second of the receiver"].append(size / processor / 1e9)


def fan_out(bench: Bench, runs: int, found: dict[str, list[float]]) -> None:
    """One and three receivers over links that are the limit."""
    model = "lab/bulk-8x32M"
    bench.clear(range(NODES))
    bench.ensure(model, [0])
    bench.shape(LINK_MBIT)
    try:
        for run in range(runs):
            print(f"fan-out: run {run + 1} of {runs}", file=sys.stderr, flush=True)
            bench.clear([1, 2, 3])
            one = bench.ensure(model, [0, 1])
            bench.clear([1, 2, 3])
            three = bench.ensure(model, [0, 1, 2, 3])
            found[f"one receiver, links of {LINK_MBIT} Mbit/s"].append(one)
            found["three receivers, the same links"].append(three)
            found["x one receiver (1.3 or less)"].append(three / one)
    finally:
        bench.shape(None)


def downloads(bench: Bench, runs: int, found: dict[str, list[float]]) -> None:
    """From a Hub that is the limit, to one node and on to the others."""
    model = "lab/bulk-8x32M"
    fault = bench.hub.faults.add({"kind": "slow", "rate": HUB_RATE, "shared": True})
    for run in range(runs):
        print(f"download: run {run + 1} of {runs}", file=sys.stderr, flush=True)
        bench.clear(range(NODES))
        alone = bench.ensure(model, [0])
        bench.clear(range(NODES))
        pair = bench.ensure(model, [0, 1])
        bench.clear(range(NODES))
        four = bench.ensure(model, range(NODES))
        found[f"download alone, Hub at {HUB_RATE / 1e6:.0f} MB/s"].append(alone)
        found["download and copy, two nodes"].append(pair)
        found["download and copy, four nodes"].append(four)
        found["x alone, two nodes (1.1 or less)"].append(pair / alone)
        found["x alone, four nodes (1.1 or less)"].append(four / alone)
    bench.hub.faults.clear(fault.id)


def checks(bench: Bench, runs: int, found: dict[str, list[float]]) -> None:
    """A hundred files on four nodes, verified before."""
    model = "lab/hundred-files"
    bench.clear(range(NODES))
    bench.ensure(model, range(NODES))
    props = bench.props(model, range(NODES))
    for _ in range(max(3, runs)):
        found[f"warm check, {len(props['files'])} files on four nodes (under 1 s)"].append(
            timed(lambda: weights.damage(props, lambda _line: None))
        )


def floor_login(bench: Bench, found: dict[str, list[float]]) -> None:
    """The least that asking all nodes anything costs."""

    def ask() -> None:
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(lambda c: SshShell(c).run("python3 -I -S -c pass"), bench.connections))

    for _ in range(3):
        found["python3 by ssh on four nodes, nothing else"].append(timed(ask))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gib", type=int, default=3, help="size of the copied model (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    args = parser.parse_args()
    found: dict[str, list[float]] = defaultdict(list)
    _lab("down", "--name", NAME)
    _lab("up", "--name", NAME, "--nodes", str(NODES))
    try:
        lab = json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())
        with Hub(address=lab["operator_ip"]) as hub:
            bench = Bench(lab, hub)
            prepare(bench)
            if "check" in args.parts:
                floor_login(bench, found)
                checks(bench, args.runs, found)
            if "fan-out" in args.parts:
                fan_out(bench, args.runs, found)
            if "download" in args.parts:
                downloads(bench, args.runs, found)
            if "copy" in args.parts:
                copies(bench, args.runs, args.gib, found)
    finally:
        _lab("down", "--name", NAME)
    print(f"{'':56} median  spread     ({args.runs} runs; s unless said)")
    for what, values in found.items():
        spread = f"{min(values):.2f}-{max(values):.2f}"
        print(f"{what:56} {statistics.median(values):6.2f}  {spread:>12}")


if __name__ == "__main__":
    main()
