"""A stack on a lab, driven by the real command line: what a user types, and what comes back."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from lab.stack_config import write as write_lab

ROOT = Path(__file__).parents[2]
#: What makes the program; a test's project is a folder of links to it with its own configuration.
PARTS = ("Pulumi.yaml", "__main__.py", "components", "dynamic_providers", "cluster", "remote", ".venv")
PROJECT = "trtllm-dgx-spark"
#: What docs/preparing.md asks the owner of a fresh Spark for; the tests of preparing go without.
PREPARED = ("--variant", "docker-group", "--variant", "sudo-nopasswd", "--variant", "mtu=9000")
DEADLINE_S = 240
_COUNT = re.compile(
    r"^ +(?:[+~-]+ *)?(\d+) (created|updated|deleted|replaced|unchanged|errored|to \w+)$", re.M
)


@dataclass(frozen=True)
class Run:
    """A finished command: its exit code and what it printed."""

    code: int
    text: str

    @property
    def counts(self) -> dict[str, int]:
        """The engine's own summary, {"created": 23}; the last block counts."""
        return {what: int(count) for count, what in _COUNT.findall(self.text.rpartition("Resources:")[2])}


@dataclass
class Stack:
    """One stack in a folder of its own."""

    folder: Path
    lab: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    name: str = "lab"

    def pulumi(self, *words: str, ok: bool = True) -> Run:
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stdout[-4000:]
        return Run(done.returncode, done.stdout)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command that goes on while the test does; all its processes in a group of their own."""
        return subprocess.Popen(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start_shown(self, *words: str) -> subprocess.Popen[str]:
        """Likewise, with its output to be read by `communicate`."""
        return subprocess.Popen(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def up(self, ok: bool = True) -> Run:
        return self.pulumi("up", "--yes", "--skip-preview", ok=ok)

    def destroy(self) -> Run:
        return self.pulumi("destroy", "--yes", "--skip-preview")

    def set(self, key: str, value: Any) -> None:
        """Write the configuration; None takes the key away."""
        path = self.folder / f"Pulumi.{self.name}.yaml"
        content = yaml.safe_load(path.read_text())
        content["config"].pop(f"{PROJECT}:{key}", None)
        if value is not None:
            content["config"][f"{PROJECT}:{key}"] = value
        path.write_text(yaml.safe_dump(content))

    def get(self, key: str) -> Any:
        """What the configuration says; None where it says nothing."""
        content = yaml.safe_load((self.folder / f"Pulumi.{self.name}.yaml").read_text())
        return content["config"].get(f"{PROJECT}:{key}")

    def output(self, name: str) -> Any:
        return json.loads(self.pulumi("stack", "output", "--json").text)[name]


def create(folder: Path, lab: dict[str, Any], name: str = "lab") -> Stack:
    """A new stack of that name with an empty state, configured for the lab."""
    folder.mkdir(parents=True)
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)
    lab_json = folder / "lab.json"
    lab_json.write_text(json.dumps(lab))
    write_lab(lab_json, folder / f"Pulumi.{name}.yaml")
    (folder / "state").mkdir()
    exports = subprocess.run(
        [str(ROOT / "scripts" / "env"), "lab"], capture_output=True, text=True, check=True
    ).stdout
    names = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
    env = {**os.environ, **{name: "".join(shlex.split(value)) for name, value in names.items()}}
    env |= {"PULUMI_BACKEND_URL": f"file://{folder}/state?metadata=skip", "HOME": str(folder)}
    env.pop("SSH_AUTH_SOCK", None)
    # Whatever another lab of this checkout is up: the nodes' own copies, unless a test asks its lab's Hub.
    env.pop("HF_ENDPOINT", None)
    env["HF_HUB_OFFLINE"] = "1"
    stack = Stack(folder, lab, env, name)
    stack.pulumi("stack", "init", name)
    return stack


def lab_command(lab: dict[str, Any], *words: str) -> str:
    """`python -m lab` for this lab; its output."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", words[0], "--name", lab["name"], *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inside(lab: dict[str, Any], node: int, script: str) -> str:
    """A script as root inside a node, from 0; its output."""
    name = lab["nodes"][node]["name"]
    return lab_command(lab, "exec", name, "--", "bash", "-c", f"cd /; {script}")


#: Everything of a node that we may have touched, as text (sudo itself marks its first use in the home).
LEAVINGS = """
cat /etc/docker/daemon.json 2>&1; stat -c '%n %a %U' /etc/docker/daemon.json 2>&1
md5sum /etc/nvidia-container-runtime/config.toml /home/nvidia/.ssh/authorized_keys
stat -c '%n %a %U' /etc/nvidia-container-runtime/config.toml /home/nvidia/.ssh/authorized_keys
ls -A --ignore=.sudo_as_admin_successful /home/nvidia /home/nvidia/.ssh /var/lib/trtspark /etc/docker \
  /tmp /dev/shm 2>&1
docker info --format '{{.Swarm.LocalNodeState}} {{.DefaultRuntime}} {{json .Runtimes}}'
docker ps --all --format '{{.Names}}'
docker network ls --format '{{.Name}} {{.Driver}}' | sort
docker volume ls --format '{{.Name}}' | sort
docker service ls 2>&1 | head -n 1 | cut -c -60
find /home/nvidia/.cache/huggingface -type f | sort | xargs md5sum | md5sum
ps -eo args | grep -c '[m]pirun\\|[t]rtllm' || true
"""


def leavings(lab: dict[str, Any]) -> list[str]:
    """The state of every node as far as we could have changed it."""
    return [inside(lab, index, LEAVINGS) for index in range(len(lab["nodes"]))]


def same(lab: dict[str, Any], before: list[str]) -> None:
    """Assert that the nodes are as they were `before` (as `leavings` tells it), else show what differs."""
    for old, new in zip(before, leavings(lab), strict=True):
        assert old == new, "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm=""))


def until(condition: Any, seconds: float, what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether the server there answers 200."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
