"""How true the benchmark's own client is: against a server that stamps every piece when it writes it.

usage: eval "$(scripts/env)"; python -m lab.bench_client [--part truth|many|long|others]… [--venvs FOLDER]
                                                           [--engine URL --first SECONDS --rate TOKENS/S]

The server (tests/trtspark/sse_server.py) runs in another process on this machine, and both share its cores:
what is printed is the client's fault and the machine's together. `truth`: 64 streams of 50 tokens/s. `many`:
1,000 streams of 20 tokens/s. `long`: 10,000 requests in one run, and what memory they take. `others`:
llama-benchy and aiperf beside it, from PyPI in environments of their own (`--venvs` keeps them). `--engine`:
an engine whose times are known, as the lab's models say them in lab-engine.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from lab import models  # noqa: E402
from tests.trtspark.sse_server import Behaviour, apart  # noqa: E402
from trtspark.bench import measure, server  # noqa: E402
from trtspark.bench.load import Load, Run, drive  # noqa: E402
from trtspark.bench.stream import Answer, Connection, Target  # noqa: E402

PARTS = ("truth", "many", "long", "others")
BODY = {"model": "m", "messages": [{"role": "user", "content": "x " * 64}], "max_tokens": 100, "stream": True}
TOOLS = {"llama-benchy": "llama-benchy", "aiperf": "aiperf"}
TOOL_TIMEOUT_S = 120
#: Of the lab's models; the tools find it in HF_HOME.
TOKENIZER = "Qwen/Qwen2.5-7B-Instruct"
MS = 1e3


class Stamped(Connection):
    """A connection that keeps, beside each arrival, when the server says it wrote the piece."""

    def __init__(self, seen: dict[int, array[int]]) -> None:
        """`seen`: by the id of an answer, the server's stamps of its tokens."""
        super().__init__()
        self.seen = seen

    def _event(self, data: bytes) -> None:
        before = len(self.answer.tokens)
        super()._event(data)
        if len(self.answer.tokens) > before:
            stamp = int(data.rpartition(b'"sent": ')[2].rstrip(b"}"))
            self.seen.setdefault(self.answer.started, array("q")).append(stamp)


def stamped(url: str, load: Load) -> tuple[Run, dict[int, array[int]]]:
    """A run, and the server's own stamps by the request's start."""
    seen: dict[int, array[int]] = {}
    run = uvloop.run(drive(Target(url), [BODY], load, connection=lambda: Stamped(seen)))
    return run, seen


def errors(run: Run, seen: dict[int, array[int]]) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds by which TTFT, gaps, and each delivery differ from the truth."""
    first, gaps, delivery = [], [], []
    for answer in filter(measure.good, run.answers):
        sent = seen[answer.started]
        late = [(got - wrote) / 1e6 for got, wrote in zip(answer.tokens, sent, strict=True)]
        first.append(late[0])
        delivery += late
        gaps += [abs(after - before) for before, after in pairwise(late)]
    return first, gaps, delivery


def show(name: str, values: Sequence[float], unit: str = "ms") -> tuple[float, float]:
    """Print p50 and p99; both."""
    ordered = sorted(values)
    p50, p99 = measure.quantile(ordered, 0.5), measure.quantile(ordered, 0.99)
    print(f"  {name:<44} p50 {p50:8.3f} {unit}   p99 {p99:8.3f} {unit}")
    return p50, p99


def verdict(name: str, found: float, most: float, unit: str) -> None:
    """A figure beside its limit."""
    word = "reached" if found <= most else "MISSED"
    print(f"  {name:<44} {found:8.2f} {unit}, to be at most {most:g}: {word}")


def truth() -> None:
    """64 streams of 50 tokens/s."""
    print("64 streams of 50 tokens/s, 100 tokens each, 192 requests")
    with apart(Behaviour(first=0.2, gap=0.02, tokens=100)) as url:
        run, seen = stamped(url, Load(192, 64))
        plain = uvloop.run(drive(Target(url), [BODY], Load(192, 64)))
    first, gaps, _ = errors(run, seen)
    ttft, itl = (
        show("TTFT, measured less true", first),
        show("inter-token latency, |measured less true|", gaps),
    )
    for name, pair in (("TTFT", ttft), ("inter-token latency", itl)):
        verdict(f"{name} p50", pair[0], 1, "ms")
        verdict(f"{name} p99", pair[1], 5, "ms")
    verdict("the client's cores", 100 * plain.cpu_ns / (plain.ended - plain.began), 15, "% of one")
    lags(plain)


def many() -> None:
    """1,000 streams of 20 tokens/s."""
    print("1,000 streams of 20 tokens/s, 40 tokens each")
    with apart(Behaviour(first=0.5, gap=0.05, tokens=40)) as url:
        run, seen = stamped(url, Load(1000, 1000))
    _, _, delivery = errors(run, seen)
    print(f"  answered {sum(map(measure.good, run.answers))} of {len(run.answers)}")
    verdict("delivery p99", show("delivery, arrival less the server's write", delivery)[1], 20, "ms")
    lags(run)


def lags(run: Run) -> None:
    """What limits it: the client's own loop and cores, on a machine with so many."""
    found = measure.client(run)
    lag = found["lag_s"]
    late = f"{MS * lag['p50']:.2f} ms (p50), {MS * lag['p99']:.2f} ms (p99)"
    load = os.getloadavg()[0]
    cores = f"{found['cpu_cores']:.2f} of {os.cpu_count()} cores, which the server shares"
    print(f"  the client's loop was late by {late}; it used {cores}; the machine's load is {load:.1f}")


def long() -> None:
    """10,000 requests of 32 tokens."""
    print("10,000 requests of 32 tokens, 64 at once")
    seen: list[int] = []
    count = 0

    def told(_answer: Answer) -> None:
        nonlocal count
        count += 1
        if count in (2_000, 10_000):
            seen.append(resident())

    with apart(Behaviour(first=0.01, gap=0.002, tokens=32)) as url:
        run = uvloop.run(drive(Target(url), [BODY], Load(10_000, 64), told))
    grown = seen[1] - seen[0]
    print(f"  answered {sum(map(measure.good, run.answers))}, errors {measure.figures(run)['errors']}")
    print(f"  resident memory: {seen[0] / 2**20:.1f} MiB after 2,000, {seen[1] / 2**20:.1f} MiB after 10,000")
    print(f"  that is {grown / 8000:.0f} bytes a request; 32 stamps of 8 bytes are kept of each, and its row")


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def engine(url: str, first: float, rate: float) -> None:
    """An engine whose times are known, four at once."""
    print(f"An engine with {first:g} s to the first token and {rate:g} tokens/s")
    where = server.target(url)
    body = {
        **BODY,
        "model": server.chosen(where, None),
        "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }
    run = uvloop.run(drive(where, [body], Load(40, 4)))
    good = [measure.request(answer, run.began) for answer in run.answers if measure.good(answer)]
    show("TTFT less the model's own", [MS * (one.ttft - first) for one in good])
    show(
        "inter-token latency less the model's own",
        [MS * (gap - 1 / rate) for gap in measure.gaps(run.answers)],
    )
    lags(run)


def others(venvs: Path) -> None:
    """Each tool alone against the same server, one request at a time and four at once."""
    with tempfile.TemporaryDirectory() as folder:
        models.write(Path(folder))
        os.environ["HF_HOME"] = folder
        for at_once in (1, 4):
            print(f"Beside others: {at_once} at once, TTFT 200 ms, 50 tokens/s, 64 tokens")
            with apart(Behaviour(first=0.2, gap=0.02, tokens=64)) as url:
                ours = uvloop.run(
                    drive(Target(url), [{**BODY, "max_tokens": 64}], Load(8 * at_once, at_once))
                )
                mine = own(ours)
                for name, ask in (("aiperf", aiperf), ("llama-benchy", benchy)):
                    program = venvs / name / "bin" / name
                    installed(venvs, name)
                    began = time.monotonic()
                    try:
                        found = ask(program, url, at_once, Path(folder) / f"{name}-{at_once}")
                    except (subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
                        print(f"  {name}: did not run: {str(error)[-400:]}")
                        continue
                    print(f"  {name} ({time.monotonic() - began:.0f} s)")
                    for figure, value in found.items():
                        said = (
                            f"ours {mine[figure]:9.2f}   {name} {value:9.2f}   {value - mine[figure]:+8.2f}"
                        )
                        print(f"    {figure:<22} {said}")


def own(run: Run) -> dict[str, float]:
    """Our figures by the names that are shared. Milliseconds and tokens/s."""
    found = measure.figures(run)
    return {
        "TTFT mean": MS * found["ttft_s"]["mean"],
        "TTFT p99": MS * found["ttft_s"]["p99"],
        "TPOT mean": MS * found["tpot_s"]["mean"],
        "ITL p99": MS * found["itl_s"]["p99"],
        "end to end mean": MS * found["e2e_s"]["mean"],
        "output tokens/s": found["output_tokens_per_s"],
        "tokens/s per user": found["user_tokens_per_s"]["mean"],
    }


def aiperf(program: Path, url: str, at_once: int, folder: Path) -> dict[str, float]:
    """aiperf's figures by our names."""
    words = [
        *(str(program), "profile", "-m", "m", "--url", url, "--endpoint-type", "chat", "--streaming"),
        *("--tokenizer", TOKENIZER, "--use-server-token-count", "--concurrency", str(at_once)),
        *("--request-count", str(8 * at_once), "--isl", "64", "--osl", "64", "--ui-type", "none"),
        *("--artifact-dir", str(folder), "--use-legacy-max-tokens", "--warmup-request-count", "1"),
    ]
    called(words)
    document = json.loads(next(folder.rglob("profile_export_aiperf.json")).read_text())
    names = {
        "TTFT mean": ("time_to_first_token", "avg"),
        "TTFT p99": ("time_to_first_token", "p99"),
        "TPOT mean": ("inter_token_latency", "avg"),
        "ITL p99": ("inter_chunk_latency", "p99"),
        "end to end mean": ("request_latency", "avg"),
        "output tokens/s": ("output_token_throughput", "avg"),
        "tokens/s per user": ("output_token_throughput_per_user", "avg"),
    }
    return {ours: document[name][figure] for ours, (name, figure) in names.items() if name in document}


def benchy(program: Path, url: str, at_once: int, folder: Path) -> dict[str, float]:
    """llama-benchy's figures by our names."""
    folder.mkdir(exist_ok=True)
    file = folder / "result.json"
    words = [
        *(str(program), "--base-url", f"{url}/v1", "--model", "m", "--tokenizer", TOKENIZER),
        *("--pp", "64", "--tg", "64", "--runs", "8", "--concurrency", str(at_once), "--latency-mode", "none"),
        *("--skip-coherence", "--book-url", f"{url}/book", "--format", "json", "--save-result", str(file)),
    ]
    called(words)
    [run] = json.loads(file.read_text())["benchmarks"]
    found = {"TTFT mean": run["e2e_ttft"]["mean"]}
    name = "tokens/s per user" if at_once == 1 else "output tokens/s"
    return {**found, name: run["tg_throughput"]["mean"]}


def called(words: Sequence[str]) -> None:
    """Run a tool without a network beyond this machine's own."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        words,
        env=env,
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ValueError(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")


def installed(venvs: Path, name: str) -> None:
    """The tool from PyPI in an environment of its own: it wants other versions than ours."""
    if not (venvs / name / "bin" / name).is_file():
        subprocess.run([sys.executable, "-m", "venv", str(venvs / name)], check=True)
        subprocess.run([str(venvs / name / "bin/pip"), "install", "--quiet", TOOLS[name]], check=True)


def main() -> None:
    """The parts asked for, all by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--venvs", type=Path, help="where the other tools are, or are to be installed")
    parser.add_argument("--engine", metavar="URL")
    parser.add_argument("--first", type=float, default=0.02)
    parser.add_argument("--rate", type=float, default=60.0)
    words = parser.parse_args()
    work: dict[str, Callable[[], Any]] = {"truth": truth, "many": many, "long": long}
    if words.engine:
        engine(words.engine, words.first, words.rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        venvs = (words.venvs or Path(folder)).absolute()
        for part in words.part or PARTS:
            work.get(part, lambda: others(venvs))()
            print()


if __name__ == "__main__":
    main()
