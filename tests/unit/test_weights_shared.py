"""Nodes that have their Hugging Face cache from one file server: the files come to it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.errors import NodeError
from lab.hub.server import Hub
from remote import weights
from remote.ssh import Result
from tests.weights import Cluster


@pytest.fixture
def cluster(tmp_path):
    with Hub() as hub:
        yield lambda count: Cluster(tmp_path, count, "lab/bulk-3x4M", endpoint=hub.url)


MOUNT = "51 22 0:52 / {} rw - nfs4 nas:/export rw\n"


class Nas:
    """One folder that nodes have from a file server, as far as their kernels tell."""

    def __init__(self, cluster: Cluster, folder: Path, *nodes: int) -> None:
        (folder / "nas").mkdir()
        (folder / "mountinfo").write_text(MOUNT.format(folder / "nas"))
        for number, shell in enumerate(cluster.shells.values()):
            if number in nodes:
                (shell.home / "hf").symlink_to(folder / "nas")
            run, mounts = shell.run, str(folder / "mountinfo")

            def ask(command: str, stdin: str = "", timeout: float = 60, run=run, mounts=mounts) -> Result:
                return run(command, stdin.replace("/proc/self/mountinfo", mounts), timeout)

            shell.run = ask


def test_nodes_with_one_folder_on_a_file_server_have_it_filled_once(cluster, tmp_path):
    three = cluster(3)
    Nas(three, tmp_path, 0, 2)
    three.ensure()
    assert all(three.whole(n) for n in range(3))
    assert three.damage() == {}
    assert sorted(one.name for one in tmp_path.glob("node-*") if (one / ".local").exists()) == [
        "node-0",
        "node-1",
    ]


def test_a_folder_that_the_other_node_does_not_see_is_named(cluster, tmp_path, monkeypatch):
    two = cluster(2)
    Nas(two, tmp_path, 0, 1)
    monkeypatch.setattr(weights, "SEEN_S", 0.2)
    elsewhere = tmp_path / "nas" / "elsewhere"
    (two.homes[1] / "hf").unlink()
    elsewhere.mkdir()
    # Below the same mount point, and by its name the first one's folder.
    (tmp_path / "mountinfo").write_text(MOUNT.format(tmp_path / "nas") + MOUNT.format(elsewhere))
    (two.homes[1] / "hf").symlink_to(elsewhere)
    with pytest.raises(NodeError, match="node-1: "):
        two.ensure()
    assert two.whole(0)
