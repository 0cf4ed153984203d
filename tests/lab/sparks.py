"""Simulated Sparks as their user sees them: over ssh."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.state import Lab
from tests.lab.stack import ROOT

DEADLINE_S = 240
#: The first time on a machine, an image's base and what else is missing are built.
FIRST_UP_S = 2400
#: Docker 29 and NVIDIA's own runtime, with another image store on each node.
DOCKER_29 = ("--docker", "29", "--variant", "spark-2:image-store=overlay2")


def lab(
    *words: str, name: str, ok: bool = True, deadline: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """`python3 -m lab` for the lab `name`; `deadline` in seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", words[0], "--name", name, *words[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=deadline, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not ok, done.stdout + done.stderr
    return done


@contextmanager
def fresh(name: str, *words: str) -> Iterator[dict[str, Any]]:
    """A new lab, made with these words of `lab up` and taken down at the end: its lab.json."""
    lab("down", name=name)
    try:
        lab("up", *words, name=name, deadline=FIRST_UP_S)
        yield json.loads(Lab(name).description.read_text())
    finally:
        lab("down", name=name)


@dataclass
class Spark:
    """A node as its user sees it, over ssh."""

    lab: str
    name: str
    host: str
    known_hosts: str
    identity: str
    fabric: list[str]

    def ssh(self, command: str, *, known_hosts: str | None = None) -> subprocess.CompletedProcess[str]:
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known_hosts or self.known_hosts,
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return subprocess.run(
            ["ssh", "-F", "none", "-i", self.identity, *words, f"nvidia@{self.host}", command],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def run(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def root(self, command: str) -> str:
        """As root, from outside: for nodes whose user may not."""
        return lab("exec", self.name, "--", "bash", "-c", command, name=self.lab).stdout.strip()


def sparks_of(name: str) -> list[Spark]:
    """The nodes of a lab that is up."""
    found = json.loads(Lab(name).description.read_text())
    return [
        Spark(name, node["name"], node["host"], found["known_hosts"], found["identity"], node["fabric"])
        for node in found["nodes"]
    ]
