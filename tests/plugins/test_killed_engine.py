"""What `pulumi` started ends when it is killed, and not before: the dynamic providers and the program."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dynamic_providers import engine_watch
from tests.plugins.conftest import wait_until

pytestmark = pytest.mark.lab
MODULE = """
import os, pathlib, time
from pulumi.dynamic import CreateResult, Resource
from dynamic_providers.base import Provider

class SlowProvider(Provider):
    def create(self, props):
        pathlib.Path("begun").write_text(f"{os.getpid()}\\n")
        time.sleep(props["seconds"])
        pathlib.Path("ended").touch()
        return CreateResult("slow", props)

class Slow(Resource, module="trial", name="Slow"):
    def __init__(self, name, props):
        super().__init__(SlowProvider(), name, props)
"""
PROGRAM = """
import json, os, pathlib
from dynamic_providers import engine_watch
from slow import Slow
engine_watch.end_with_parent()
pathlib.Path("program").write_text(str(os.getpid()))
Slow("slow", json.load(open("case.json")))
"""


@pytest.fixture
def slow(project):
    """A project of one dynamic resource, whose create takes the case's `seconds`."""
    (project.folder / "slow.py").write_text(MODULE)
    project.program(PROGRAM)
    return project


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_engine_takes_it_along(slow):
    (slow.folder / "case.json").write_text('{"seconds": 120}')
    argv = ["pulumi", "--non-interactive", "up", "--yes", "--skip-preview"]
    with subprocess.Popen(
        argv, cwd=slow.folder, env=slow.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as engine:
        begun = slow.folder / "begun"
        wait_until(lambda: begun.exists() and begun.read_text().endswith("\n"), 60)
        host = int(begun.read_text())
        parent = Path(f"/proc/{host}/stat").read_text().rpartition(") ")[2].split()[1]
        program = int((slow.folder / "program").read_text())
        assert running(host)
        assert running(program)
        os.kill(engine.pid, 9)
    wait_until(lambda: not any(map(running, (host, int(parent), program))), 30)
    assert not (slow.folder / "ended").exists()


def test_a_host_that_had_nothing_to_do_yet_is_ended_by_the_program():
    """It has loaded nothing of ours that could watch."""
    with socket.create_server(("127.0.0.1", 0)) as engine, socket.create_server(("127.0.0.1", 0)) as gone:
        ports = [one.getsockname()[1] for one in (engine, gone)]
        gone.close()
        argv = [sys.executable, "-u", "-m", "pulumi.dynamic"]
        hosts = [
            subprocess.Popen([*argv, f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
            for port in ports
        ]
        try:
            assert all(host.stdout and host.stdout.readline().strip().isdecimal() for host in hosts)
            engine_watch.end_orphans()
            assert hosts[1].wait(10) != 0
            assert hosts[0].poll() is None
        finally:
            for host in hosts:
                host.kill()
                host.wait()
                assert host.stdout
                host.stdout.close()


def test_an_engine_that_lives_is_served_to_the_end(slow):
    started = time.monotonic()
    run = slow.up({"seconds": 5})
    assert run.returncode == 0, run.stdout + run.stderr
    assert time.monotonic() - started > 5
    assert (slow.folder / "ended").exists()
