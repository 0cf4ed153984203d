"""Whether two nodes have one folder, from a file server or from one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.weights_plan import sharing
from remote.node import shared_folder

ROOT = "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n"
Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(tmp_path, monkeypatch) -> Look:
    """What is told of a folder below `tmp_path`, which is mounted as the line says ("POINT" is its place)."""

    def ask(line: str, folder: str = "hub") -> dict[str, Any]:
        mounts = tmp_path.parent / f"{tmp_path.name}.mountinfo"
        mounts.write_text(ROOT + line.replace("POINT", str(tmp_path).replace(" ", r"\040")) + "\n")
        monkeypatch.setattr(shared_folder, "MOUNTS", str(mounts))
        told: dict[str, Any] = shared_folder.look(str(tmp_path / folder))
        return told

    return ask


def nfs(source: str = "nas:/export", root: str = "/", kind: str = "nfs4") -> str:
    return f"51 22 0:52 {root} POINT rw,relatime shared:9 - {kind} {source} rw,vers=4.2"


def other(told: dict[str, Any]) -> dict[str, Any]:
    """The same of another folder of that name: another inode."""
    return {**told, "names": ["1 at 1", *told["names"][1:]]}


@pytest.mark.parametrize(
    "line",
    ["", "51 22 0:52 / POINT rw - ext4 /dev/sda1 rw", nfs() + "\n52 51 0:60 / POINT rw - ext4 /dev/sdb1 rw"],
)
def test_disks_of_two_machines_are_two_even_where_they_are_clones(look, line):
    told = look(line)
    assert told["network"] is False
    assert sharing([told, told]) == {0: [], 1: []}


def test_one_export_is_one_folder_wherever_it_is_mounted(look):
    assert sharing([look(nfs()), other(look(nfs()))]) == {0: [1]}
    assert sharing([look(nfs(), "a/hub"), other(look(nfs(root="/a"), "hub"))]) == {0: [1]}
    cifs = look(nfs(kind="cifs", source="//nas/models"))
    assert sharing([cifs, other(cifs)]) == {0: [1]}


def test_another_folder_or_export_is_another(look):
    assert sharing([look(nfs(), "a/hub"), look(nfs(), "b/hub")]) == {0: [], 1: []}
    assert sharing([look(nfs()), other(look(nfs("nas:/other")))]) == {0: [], 1: []}


def test_a_server_by_two_names_is_one(look):
    assert sharing([look(nfs("nas:/export")), look(nfs("10.0.0.5:/export"))]) == {0: [1]}


def test_what_one_node_exports_to_the_other_is_one_folder(look):
    assert sharing([look(""), look(nfs("spark-1:/home/nvidia/hf"))]) == {0: [1]}
    assert sharing([other(look("")), look(nfs("spark-1:/home/nvidia/hf"))]) == {0: [], 1: []}


def test_what_each_machine_mounts_from_itself_is_its_own(look):
    told = look(nfs("localhost:/export"))
    assert sharing([told, other(told)]) == {0: [], 1: []}


def test_a_folder_that_came_is_known_by_its_own_inode(look, tmp_path: Path):
    before = look(nfs())
    (tmp_path / "hub").mkdir()
    assert look(nfs())["names"][0] != before["names"][0]
    assert look(nfs())["names"][0].startswith(str(os.stat(tmp_path / "hub").st_ino))


FOLDERS = st.fixed_dictionaries(
    {"network": st.booleans(), "names": st.lists(st.sampled_from("abcd"), max_size=2)}
)


@given(st.lists(FOLDERS, max_size=8))
def test_every_node_is_in_one_group_and_those_of_its_own_alone(folders):
    groups = sharing(folders)
    assert sorted([*groups, *(n for others in groups.values() for n in others)]) == list(range(len(folders)))
    for first, others in groups.items():
        for number in others:
            assert set(folders[first]["names"]) & set(folders[number]["names"])
            assert folders[first]["network"] or folders[number]["network"]
