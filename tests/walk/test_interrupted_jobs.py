"""Weights and the image's pull, interrupted: their jobs outlive the login, so `up` takes up what it finds.

As test_interrupted_nodes.py, but the programs for the nodes are real processes here, in folders of this
machine. A step is a login's command, which is killed or cut off before it began or once it has ended; or,
within a node's program and the job that it leaves running, a change of a file, at which it is killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unreachable
from dynamic_providers import base
from dynamic_providers.image_pull import ImagePullProvider
from dynamic_providers.model_weights import ModelWeightsProvider
from lab.hub.server import Hub
from remote import image_pull, jobs, weights
from remote.ssh import Result, SshShell
from tests.pulls import IMAGE, MB, FakeDocker, Node, layer
from tests.samples import HOST_KEY
from tests.walk.machines import Faults, Killed
from tests.walk.node_parts import tree
from tests.walk.pulumi_model import Pulumi, Registered
from tests.weights import Cluster

KILLER = """
import fcntl as _fcntl, os as _os, shutil
def _counted(real):
    def call(*words, **options):
        with open({counter!r}, "r+") as handle:
            _fcntl.flock(handle, _fcntl.LOCK_EX)
            number = int(handle.read() or 0) + 1
            handle.seek(0)
            handle.write(str(number))
        if number == {at}:
            _os.kill(_os.getpid(), 9)
        return real(*words, **options)
    return call
for _name in ("replace", "unlink", "rmdir", "mkdir", "symlink", "ftruncate", "fdatasync"):
    setattr(_os, _name, _counted(getattr(_os, _name)))
"""


def cut_off() -> BaseException:
    return Unreachable("the node", "ssh ended.", "Try again.")


class Job:
    """One resource whose work is a job on its nodes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults, self.pulumi = Faults(), Pulumi()
        root.mkdir()
        self.counter, self.at = root / "counter", 0
        self.pulumi.install(monkeypatch)
        self.stop = contextlib.ExitStack()
        self.begin(root / "nodes", monkeypatch)
        base._LISTED.update(hosts=set(self.shells), all=set(self.shells))
        monkeypatch.setattr(SshShell, "run", lambda shell, *a, **k: self._run(shell.connection.host, *a, **k))
        monkeypatch.setattr(jobs, "SILENCE_S", 1.5)
        monkeypatch.setattr(weights, "STALL_S", 4.0)
        monkeypatch.setattr(weights, "FIRST_BYTE_S", 4.0)

    def _run(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> Result:
        if stdin and self.at:
            stdin = KILLER.format(counter=str(self.counter), at=self.at) + stdin
        with self.faults.step():
            found: Result = self.shells[host].run(command, stdin, timeout)
            return found

    def kill_at(self, number: int) -> None:
        """A process on a node is killed at so many changes of files."""
        self.counter.write_text("0")
        self.at = number

    def up(self) -> list[str]:
        self.pulumi.up([Registered("job", self.provider, lambda _: self.props)])
        return self.pulumi.said

    # what each says of itself

    shells: dict[str, Any]
    provider: Any
    props: dict[str, Any]

    def begin(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        raise NotImplementedError

    def good(self) -> bool:
        raise NotImplementedError

    def remains(self) -> list[str]:
        raise NotImplementedError


class Weights(Job):
    provider = ModelWeightsProvider()

    def begin(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub = self.stop.enter_context(Hub())
        self.cluster = Cluster(folder, 2, "lab/bulk-2x1M", hub.url, deleteOnDestroy=True)
        for home in self.cluster.homes:  # the user's, and stay
            for place in ("hf/hub", ".local/state"):
                (home / place).mkdir(parents=True)
        self.shells, self.props = dict(self.cluster.shells), self.cluster.props

    def good(self) -> bool:
        return all(self.cluster.whole(number) for number in range(2))

    def remains(self) -> list[str]:
        return [line for home in self.cluster.homes for line in tree(home)]


class Image(Job):
    provider = ImagePullProvider()

    def begin(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.docker = self.stop.enter_context(FakeDocker(folder / "docker.sock"))
        self.stop.callback(self.docker.shutdown)
        steps = [layer("aaa", "Downloading", 4 * MB, 10 * MB), 0.3, layer("aaa", "Pull complete")]
        self.docker.pulls = [steps for _ in range(20)]
        self.node = Node(folder / "node")
        self.shells = {"spark-1": self.node}
        connection = {"host": "spark-1", "user": "nvidia", "port": 22, "hostKey": HOST_KEY, "identity": ""}
        self.props = {"stack": "dgx", "image": IMAGE, "connection": connection, "missing": ""}
        monkeypatch.setattr(image_pull, "SOCKET", str(self.docker.path))
        real = image_pull._args
        monkeypatch.setattr(image_pull, "_args", lambda props: {**real(props), "pauses": [0.05]})

    def good(self) -> bool:
        return IMAGE in self.docker.images

    def remains(self) -> list[str]:
        # Not the file with which Python itself tries a folder for temporary files.
        files = [line for line in tree(self.node.temporary) if line.startswith("trtspark")]
        return [*tree(self.node.home), *files]


def interrupted(job: Job) -> None:
    with contextlib.suppress(Exception, Killed):
        job.up()
    job.faults, job.at = Faults(), 0


def ends_well(job: Job, before: list[str], goes_on: bool) -> None:
    if goes_on:
        job.up()
        assert job.good()
        assert job.up() == []
    job.pulumi.destroy()
    deadline = time.monotonic() + 5
    while job.remains() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.remains() == before


#: With TRTSPARK_WALK every one of them, else a choice.
EVERY = "TRTSPARK_WALK" in os.environ
LOGINS = (1, 3, 4, 5, 6, 8, 10) if EVERY else (1, 4, 8)
CHANGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 23, 26, 30) if EVERY else (1, 3, 5, 8, 14, 20, 26)


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize("kind", [Killed, cut_off])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [2, *map(long, LOGINS)])
@pytest.mark.parametrize("job", [Weights, Image])
def test_a_login_that_ends(tmp_path, monkeypatch, job, number, kind, after):
    one = job(tmp_path / "it", monkeypatch)
    with one.stop:
        before = one.remains()
        one.faults = Faults(number, kind, after)
        interrupted(one)
        # Of a create that was killed Pulumi knows nothing: only the next `up` adopts it.
        ends_well(one, before, goes_on=kind is Killed or number % 2 == 0)


@pytest.mark.parametrize("number", [9, *map(long, CHANGES)])
@pytest.mark.parametrize("job", [Weights, Image])
def test_a_process_on_a_node_that_is_killed(tmp_path, monkeypatch, job, number):
    one = job(tmp_path / "it", monkeypatch)
    with one.stop:
        before = one.remains()
        one.kill_at(number)
        interrupted(one)
        ends_well(one, before, goes_on=number % 2 == 1)


def test_steps_are_counted(tmp_path, monkeypatch):
    one = Weights(tmp_path / "it", monkeypatch)
    with one.stop:
        one.kill_at(10**6)
        one.up()
        assert int(one.counter.read_text()) > 9
        one.at = 0
        one.pulumi.destroy()
    assert os.path.exists(one.counter)
