"""Simulated DGX Sparks on this machine: real sshd, Docker and Swarm; simulated GPU and RDMA."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable

from lab import cabling, engines, lifecycle, names, network, node, status
from lab.errors import LabError
from lab.state import DEFAULT_NAME, Lab
from lab.variants import usages

EPILOG = """\
A lab's files are in .lab/NAME/ of the checkout; lab.json there is for programs (docs/contracts.md).

  python3 -m lab up
  python3 -m lab exec spark-1 -- docker node ls
  python3 -m lab power off spark-2
  python3 -m lab down
"""


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default=DEFAULT_NAME, help="the lab's name (default: %(default)s)")
    top = argparse.ArgumentParser(
        prog="python3 -m lab",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, act: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(act=act)
        return made

    up = command("up", _up, "bring a lab up, or repair it: boot what is off")
    up.add_argument(
        "--nodes",
        type=int,
        choices=range(1, names.MAX_NODES + 1),
        metavar=f"1..{names.MAX_NODES}",
        help="how many Sparks (default: as many as the lab has, or 2)",
    )
    up.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="[NODE:]VARIANT",
        help="a Spark that differs from a fresh one, or all of them; may be repeated",
    )
    up.add_argument(
        "--fabric",
        choices=cabling.SHAPES,
        help="how they are cabled: direct (two), a ring (three) or a switch (default: direct or switch)",
    )
    up.add_argument(
        "--docker",
        choices=[engines.DOCKER],
        help="Docker 29, containerd 2, runc 1.3 and NVIDIA's own runtime, built once a machine (minutes);"
        " default: the system's Docker",
    )
    up.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="VERSION",
        help="another version of the serving image besides the usual one, e.g. 1.3.0rc27 with OpenMPI 5,"
        " 1.3.0rc5-nossh without an ssh client, 1.3.0rc5-noserve without the server"
        " (a minute or two, once a machine); may be repeated",
    )
    up.add_argument("--restart", action="store_true", help="cut the power of all nodes first, then boot them")
    up.epilog = "variants:\n" + "\n".join(f"  {name:24} {text}" for name, text in usages().items())
    command("down", _down, "remove a lab and everything it made")
    shown = command("status", _status, "show a lab's nodes")
    shown.add_argument("--json", action="store_true", help="as JSON")
    power = command("power", _power, "cut or give a node's power, like its plug")
    power.add_argument("switch", choices=["off", "on"])
    power.add_argument("node", metavar="NODE")
    link = command("link", _link, "pull or plug one of a node's cables")
    link.add_argument("switch", choices=["down", "up"])
    link.add_argument("node", metavar="NODE")
    link.add_argument("link", choices=cabling.LINKS)
    execute = command("exec", _exec, "run a command as root inside a node")
    execute.usage = "python3 -m lab exec [-h] [--name NAME] NODE -- CMD…"
    execute.add_argument("node", metavar="NODE")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD")
    logs = command("logs", _logs, "print a node's console and the logs of its services")
    logs.add_argument("node", metavar="NODE")
    return top


def _say(text: str) -> None:
    print(text, flush=True)


def _up(given: argparse.Namespace) -> int:
    lab = Lab(given.name)
    plan = lab.read_plan()
    if given.restart and plan:
        for each in lab.nodes(plan):
            lifecycle.power_off(lab, each.name)
    wanted = lifecycle.Wanted(given.nodes, given.variant, given.fabric, given.docker, given.image)
    lifecycle.up(lab, wanted, _say)
    _say(status.table(status.look(lab)))
    return 0


def _down(given: argparse.Namespace) -> int:
    there = lifecycle.down(Lab(given.name))
    _say(f"Lab {given.name!r} is gone." if there else f"There was no lab {given.name!r}.")
    return 0


def _status(given: argparse.Namespace) -> int:
    seen = status.look(Lab(given.name))
    print(json.dumps(seen, indent=2) if given.json else status.table(seen))
    return 0 if seen["up"] else 1


def _power(given: argparse.Namespace) -> int:
    act = lifecycle.power_on if given.switch == "on" else lifecycle.power_off
    act(Lab(given.name), given.node)
    return 0


def _link(given: argparse.Namespace) -> int:
    lab = Lab(given.name)
    network.set_link(lab, lab.node(given.node), given.link, up=given.switch == "up")
    return 0


def _exec(given: argparse.Namespace) -> int:
    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    if not words:
        raise LabError("exec needs a command: python3 -m lab exec spark-1 -- docker info")
    node.execute(Lab(given.name).node(given.node), words)
    return 0


def _logs(given: argparse.Namespace) -> int:
    chosen = Lab(given.name).node(given.node)
    for path in (chosen.console, *sorted((chosen.disk / "var/log").glob("*.log"))):
        if path.exists():
            print(f"==> {path} <==")
            print(path.read_text(errors="replace"))
    return 0


def main() -> int:
    # Ctrl-C ends this at once, boots in other threads included; `up` and `down` go on from anywhere.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    given = parser().parse_args()
    if os.geteuid() != 0:
        print("A lab makes namespaces and mounts: run it as root.", file=sys.stderr)
        return 1
    try:
        return int(given.act(given))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
