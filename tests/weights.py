"""Nodes for tests of the weights: folders of this machine as homes, the real node programs in them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab import models
from lab.hub.content import Altered, git_blob, sha256
from remote import weights
from remote.ssh import Connection, Result
from tests.samples import HOST_KEY


class LocalShell:
    """A node's shell: this machine's, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.commands: list[str] = []

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        self.commands.append(command)
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """Nothing to close."""


def model_files(model: str) -> list[dict[str, Any]]:
    """A lab model's files as the Hub lists them."""
    found = models.find(model)
    assert found is not None
    answer = []
    for path, content in sorted(models.files(found).items()):
        lfs = models.in_lfs(path)
        true = content.true if isinstance(content, Altered) else content
        digest = sha256(true) if lfs else git_blob(content.read(0, content.size))
        answer.append({"path": path, "size": content.size, "digest": digest, "lfs": lfs})
    return answer


class Cluster:
    """A few nodes and one model."""

    def __init__(self, folder: Path, count: int, model: str, endpoint: str, **changes: Any) -> None:
        self.shells = {f"node-{n}": LocalShell(folder / f"node-{n}") for n in range(count)}
        for shell in self.shells.values():
            shell.home.mkdir(parents=True)
        found = models.find(model)
        assert found is not None
        self.said: list[str] = []
        self.props: dict[str, Any] = {
            "stack": "test",
            "model": model,
            "revision": models.commit(found),
            "hfCache": "~/hf",
            "connections": [Connection(name, "u", 22, HOST_KEY).as_props() for name in self.shells],
            "endpoint": endpoint,
            "files": model_files(model),
            "extras": [],
            "fetch": True,
            # Any address of 127/8 is this machine's: two halves of a cable for each node.
            "halves": [
                [[f"half{half}", f"127.0.{half + 1}.{n + 1}", ""] for half in range(2)] for n in range(count)
            ],
            "streams": 2,
            "tiktokenFolder": "",
            "deleteOnDestroy": False,
            "missing": {},
            **changes,
        }

    def shell(self, connection: Connection) -> LocalShell:
        return self.shells[connection.host]

    def ensure(self, token: str = "", say: Callable[[str], None] | None = None) -> dict[str, Any]:
        return weights.ensure(self.props, token, say or self.said.append, self.shell)

    def damage(self, full: bool = False) -> dict[str, str]:
        return weights.damage(self.props, self.said.append, full, self.shell)

    def forget(self, delete: bool) -> None:
        weights.forget(self.props, delete, self.shell)

    @property
    def homes(self) -> list[Path]:
        return [shell.home for shell in self.shells.values()]

    def snapshot(self, node: int) -> Path:
        name = "models--" + str(self.props["model"]).replace("/", "--")
        return self.homes[node] / "hf" / "hub" / name / "snapshots" / str(self.props["revision"])

    def whole(self, node: int) -> bool:
        return all(good(self.snapshot(node) / file["path"], file) for file in self.props["files"])


def good(path: Path, file: Mapping[str, Any]) -> bool:
    """Whether the content there is the Hub's."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    if file["lfs"]:
        return hashlib.sha256(data).hexdigest() == file["digest"]
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == file["digest"]
