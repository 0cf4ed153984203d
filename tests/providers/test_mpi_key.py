"""The MPI key: made where the Swarm lacks it, told truthfully, and taken away again."""

from __future__ import annotations

import shlex
from json import dumps, loads
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import NodeError
from dynamic_providers import base
from dynamic_providers.mpi_key import MpiKeyProvider
from remote.node import mpi_key
from remote.ssh import Result, SshShell
from tests import samples

PROPS: dict[str, Any] = {
    "name": "trtspark-dgx-mpi-key",
    "stack": "dgx",
    "manager": samples.connections(1)[0].as_props(),
    "found": "",
}


@pytest.fixture
def secrets(monkeypatch):
    """Docker's secrets by name, each its labels, behind the real program for the node."""
    there: dict[str, dict[str, str]] = {}

    def docker(words, data=None, may_fail=False):
        name = words[-2] if words[1] == "create" else words[-1]
        if words[1] == "create":
            there[name] = dict(
                w.split("=", 1) for w, flag in zip(words[1:], words, strict=False) if flag == "--label"
            )
        elif name not in there:
            return SimpleNamespace(returncode=1, stdout="")
        elif words[1] == "rm":
            del there[name]
        else:
            return SimpleNamespace(returncode=0, stdout=dumps([{"Spec": {"Labels": there[name]}}]))
        return SimpleNamespace(returncode=0, stdout="")

    def run(_shell, command, stdin="", timeout=0):
        assert "mpi_key" in stdin
        try:
            answer = mpi_key.main(loads(shlex.split(command)[-1])["mpi_key"])
        except mpi_key.stop.Stop as error:
            return Result(1, "", str(error))
        return Result(0, dumps({"mpi_key": answer}), "")

    monkeypatch.setattr(mpi_key, "_docker", docker)
    monkeypatch.setattr(SshShell, "run", run)
    return there


def seen(secrets) -> dict[str, Any]:
    """The inputs after another look."""
    return {**PROPS, "found": secrets.get(PROPS["name"], {}).get(mpi_key.LABEL, "")}


def test_made_once_and_found_again(secrets):
    provider = MpiKeyProvider()
    done = provider.create(PROPS)
    assert done.outs["public"].startswith("ssh-ed25519 ")
    assert not provider.diff(done.id, done.outs, seen(secrets)).changes
    assert provider.create(PROPS).outs == done.outs  # a lost state adopts it


def test_removed_by_hand_is_found_by_the_look_and_made_again(secrets):
    provider = MpiKeyProvider()
    done = provider.create(PROPS)
    secrets.clear()
    found = provider.diff(done.id, done.outs, seen(secrets))
    assert found.changes
    assert not found.replaces
    outs = provider.update(done.id, done.outs, seen(secrets)).outs
    assert outs["public"] != done.outs["public"]
    assert not provider.diff(done.id, outs, seen(secrets)).changes


def test_another_key_of_this_stack_is_taken_as_it_is(secrets):
    provider = MpiKeyProvider()
    done = provider.create(PROPS)
    secrets[PROPS["name"]][mpi_key.LABEL] = "ssh-ed25519 OTHER"
    assert provider.diff(done.id, done.outs, seen(secrets)).changes
    assert provider.update(done.id, done.outs, seen(secrets)).outs["public"] == "ssh-ed25519 OTHER"


def test_a_refresh_tells_what_the_swarm_has(secrets):
    provider = MpiKeyProvider()
    done = provider.create(PROPS)
    assert provider.read(done.id, done.outs).outs == done.outs
    secrets.clear()
    assert provider.read(done.id, done.outs).id == ""


def test_deleted_twice_is_no_error(secrets):
    provider = MpiKeyProvider()
    done = provider.create(PROPS)
    provider.delete(done.id, done.outs)
    provider.delete(done.id, done.outs)
    assert not secrets


def test_a_create_that_fails_stays_in_the_state_and_somebody_elses_secret_there(secrets, monkeypatch):
    kept: dict[str, Any] = {}
    monkeypatch.setattr(base, "_report_incomplete", lambda _id, outs, _reason: kept.update(outs))
    secrets[PROPS["name"]] = {}
    with pytest.raises(NodeError, match="not ours"):
        MpiKeyProvider().create(PROPS)
    assert MpiKeyProvider().diff("id", kept, seen(secrets)).changes
