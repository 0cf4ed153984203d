"""Breaks a deployed pair in every way of the list, and measures how it comes back.

usage: eval "$(scripts/env)"; sudo -E python -m lab.faults [--only NAME…] [--list] [--json]

Starts a lab of its own and deploys through Pulumi. For every fault: when clients noticed, when it served
again, and how it came back: by itself, or by one `up`. After each, nothing may be left behind (services,
secrets, configs, containers, networks, processes, locks), the user's files are as they were, and one more
`up` finds nothing to do. Seconds are of wall-clock time, from the fault's beginning, and include what the
fault itself takes (a power cut 5 s and the lab's boot, a cable 20 s).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from lab.fault_list import FAULTS, ITSELF, NOT_SIMULATED, ONE_UP, Fault  # noqa: E402
from lab.fault_pair import Pair, Watch  # noqa: E402
from lab.fault_pair import lab as fresh_lab  # noqa: E402

NAME = "faults"
NODES = 3
"""The third is the spare that takes a dead worker's place."""
#: A fault that clients must notice is noticed within this: docs/serving.md's slowest is 15 s, or a hang's.
NOTICED_S = 100


@dataclass(frozen=True)
class Row:
    """One fault's outcome, seconds from its beginning. `wrong` is "" when all was as it has to be."""

    name: str
    done: str
    noticed: float | None
    again: float | None
    how: str
    wrong: str = ""


def run(pair: Pair, fault: Fault) -> Row:
    """Do one fault to a serving pair and see it back. Afterwards it serves, if it can at all."""
    pair.forgive()
    watch = Watch(pair)
    wrong, how, again = [], fault.how, None
    try:
        fault.act(pair)
        if fault.outage and fault.how == ITSELF and not watch.gap(NOTICED_S):
            wrong.append(f"nobody noticed within {NOTICED_S} s")
        if fault.how == ONE_UP:
            pair.stack.up()
        again = watch.well(fault.again_s)
        if again is None:
            wrong.append(f"it does not serve after {fault.again_s:.0f} s")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        wrong.append(str(error))
    finally:
        watch.stop()
    if wrong:
        how = "not"
        _rescue(pair)
    wrong += pair.left_behind()
    wrong += _something_to_do(pair, 2 if fault.late else 1)
    return Row(fault.name, fault.done, _rounded(watch.noticed), _rounded(again), how, "; ".join(wrong))


def _something_to_do(pair: Pair, tries: int) -> list[str]:
    """An `up` may meet Swarm at its own repair, seconds after a link came back: then it waits for that and
    says so, and the one after it has nothing to do.
    """
    for _ in range(tries):
        done = pair.stack.up(ok=False)
        if done.code == 0 and set(done.counts) == {"unchanged"}:
            return []
    return [f"the next `up` found something to do: {done.text[-1500:]}"]


def _rescue(pair: Pair) -> None:
    """So that one fault's failure does not become the next one's."""
    subprocess.run(
        [sys.executable, "-m", "lab", "up", "--name", pair.lab["name"]], cwd=ROOT, check=False,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    pair.stack.pulumi("cancel", "--yes", ok=False)
    pair.stack.set("model", pair.model)
    pair.stack.set("running", None)
    pair.stack.up(ok=False)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def run_all(pair: Pair, faults: Sequence[Fault]) -> Iterator[Row]:
    """One after the other, each on the pair as the one before left it."""
    for fault in faults:
        yield run(pair, fault)


def line(row: Row) -> str:
    """A row of the printed table."""
    noticed, again = ("     -" if s is None else f"{s:6.1f}" for s in (row.noticed, row.again))
    text = f"{row.name:20} {row.done:44} {noticed} {again}  {row.how:10}"
    return f"{text} {'ok' if not row.wrong else 'WRONG: ' + row.wrong}"


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, in the list's order; all for none. Exits where a name is unknown."""
    known = {fault.name for fault in FAULTS}
    if unknown := set(names) - known:
        sys.exit(f"No such fault: {', '.join(sorted(unknown))}. --list shows all.")
    return [fault for fault in FAULTS if not names or fault.name in names]


def main() -> int:
    """Print the table; 1 when a row is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--json", action="store_true", help="the rows as JSON, at the end")
    parser.add_argument("--name", default=NAME, help="the lab's name (default: %(default)s)")
    args = parser.parse_args()
    faults = chosen(args.only)
    if args.list:
        for fault in faults:
            print(f"{fault.name:20} {fault.done:44} {fault.how}")
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            pair = Pair.deployed(fresh_lab(args.name, NODES), Path(folder) / "project")
            print(f"{'fault':20} {'what is done':44} noticed again   how", file=sys.stderr, flush=True)
            for row in run_all(pair, faults):
                rows.append(row)
                print(line(row), file=sys.stderr if args.json else sys.stdout, flush=True)
        finally:
            subprocess.run(
                [sys.executable, "-m", "lab", "down", "--name", args.name], cwd=ROOT, check=False,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    for what, why in NOT_SIMULATED.items():
        print(f"not simulated, not counted: {what} ({why})", file=sys.stderr)
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
