"""The program that says what runs on a node: a Docker socket that answers, and a folder as sysfs."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any
from urllib.parse import unquote

import pytest

from cluster.live import seen
from remote import node
from remote.node import hca_counters, live, probe

ANSWERS: dict[str, Any] = {
    "/images/x:1/json": {"Id": "sha256:1", "RepoDigests": ["x@sha256:2"], "Config": {"Env": ["SECRET=1"]}},
    "/images/sha256:1/json": {"Id": "sha256:1", "RepoDigests": ["x@sha256:2"]},
    "/containers/json": [
        {"Id": "c", "ImageID": "sha256:1", "State": "running", "Labels": {"trtspark.rank": "0", "other": "1"}}
    ],
    "/nodes": [
        {"ID": "n", "Spec": {"Role": "manager", "Availability": "active"}, "Status": {"State": "ready"},
         "Description": {"Hostname": "spark-1", "TLSInfo": {"TrustRoot": "PEM"}}}
    ],
    "/services": [
        {"ID": "s", "UpdatedAt": "2026-11-25T00:56:11.016629374Z",
         "Spec": {"Name": "trtspark-dgx-rank-0", "Labels": {"trtspark.rank": "0"},
                             "Mode": {"Replicated": {"Replicas": 1}}}}
    ],
    "/tasks": [
        {"ID": "t", "ServiceID": "s", "CreatedAt": "2026-11-25T00:56:11.016629374Z",
         "DesiredState": "running", "Spec": {"ContainerSpec": {}}, "Status": {"State": "running"}}
    ],
}  # fmt: skip


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A socket with Docker's answers; the paths that were asked."""
    path, asked = tmp_path / "docker.sock", []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                target = unquote(connection.recv(4096).decode().split()[1])
                asked.append(target)
                found = ANSWERS.get(target.partition("?")[0])
                status = "200 OK" if found is not None else "404 Not Found"
                connection.sendall(f"HTTP/1.0 {status}\r\n\r\n{json.dumps(found)}".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setattr(probe, "SOCKET", str(path))
    yield asked
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def hca(root, name: str, **values: int) -> None:
    for counter, value in values.items():
        folder = root / name / "ports/1" / ("counters" if counter in hca_counters.COUNTERS else "hw_counters")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / counter).write_text(f"{value}\n")


def test_the_manager_is_asked_about_the_swarm(docker, tmp_path):
    hca(tmp_path / "rdma", "rocep1s0f0", symbol_error=3, out_of_sequence=4)
    found = live.look({"stack": "dgx", "image": "x:1", "manager": True, "root": str(tmp_path / "rdma")})
    assert found["counters"] == {"rocep1s0f0": {"symbol_error": 3, "out_of_sequence": 4}}
    assert found["containers"][0]["digests"] == ["x@sha256:2"]
    assert found["containers"][0]["Labels"] == {"trtspark.rank": "0"}
    assert "SECRET" not in json.dumps(found)
    assert "PEM" not in json.dumps(found)
    assert seen.services(found)[0].name == "trtspark-dgx-rank-0"
    assert seen.tasks(found)[0].state == "running"
    assert seen.members(found)[0].hostname == "spark-1"
    assert all("trtspark.stack=dgx" in path for path in docker if path.startswith("/tasks"))


def test_a_worker_is_not(docker, tmp_path):
    found = live.look({"stack": "dgx", "image": "x:1", "manager": False, "root": str(tmp_path)})
    assert not any(path.startswith(("/nodes", "/services", "/tasks")) for path in docker)
    assert seen.members(found) is None
    assert seen.services(found) == ()


def test_without_docker_the_counters_are_still_told(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "SOCKET", str(tmp_path / "nowhere"))
    hca(tmp_path, "rocep1s0f0", link_downed=1)
    found = live.look({"stack": "dgx", "image": "x:1", "manager": True, "root": str(tmp_path)})
    assert found["containers"] is None
    assert found["counters"] == {"rocep1s0f0": {"link_downed": 1}}


def test_it_is_sent_whole():
    """With the probe, whose way to Docker's socket it takes."""
    text = node.program(live="look")
    assert "def _ask" in text
    compile(text, "live", "exec")
