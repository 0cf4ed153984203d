"""Docker's errors and a broken connection to it, told in one sentence with the node."""

from __future__ import annotations

import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from cluster.errors import NodeError, Unreachable
from remote import engine, ssh
from remote.engine import NodeDocker
from remote.ssh import Result
from tests import samples

NODE = "nvidia@10.0.0.12"


class Client:
    """A client that raises, or answers."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def info(self, name: str = "") -> str:
        if self.error:
            raise self.error
        return f"all of {name}"


def refusal(kind: type[APIError], status: int) -> APIError:
    response = requests.Response()
    response.status_code = status
    return kind("500 Server Error for http+docker://localhost", response, "rpc error:\n  name conflicts")


@pytest.mark.parametrize(("kind", "status"), [(APIError, 500), (NotFound, 404), (ImageNotFound, 404)])
def test_a_refusal_stays_what_it_is_and_names_the_node(kind, status):
    with pytest.raises(kind) as caught:
        NodeDocker(NODE, lambda: Client(refusal(kind, status))).info()
    assert caught.value.status_code == status
    assert str(caught.value) == f"{NODE}: Docker refused: rpc error: name conflicts."


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            requests.ConnectionError("('Connection aborted.', RemoteDisconnected('…'))"),
            "the connection broke",
        ),
        (
            requests.ReadTimeout("UnixHTTPConnectionPool(…): Read timed out. (read timeout=60)"),
            "no answer in time",
        ),
        (requests.ConnectionError("… Read timed out."), "no answer in time"),
        (BrokenPipeError(32, "Broken pipe"), "the connection broke"),
        (DockerException("Error while fetching server API version"), "Error while fetching"),
    ],
)
def test_a_docker_that_does_not_answer_is_one_sentence(error, kind):
    with pytest.raises(Unreachable) as caught:
        NodeDocker(NODE, lambda: Client(error)).info()
    text = str(caught.value)
    assert text.startswith(f"{NODE}: ")
    assert kind in text
    assert "urllib3" not in text
    assert "RemoteDisconnected" not in text


def test_the_next_call_dials_anew():
    clients = iter([Client(requests.ConnectionError("gone")), Client()])
    docker = NodeDocker(NODE, lambda: next(clients))
    with pytest.raises(Unreachable):
        docker.info(name="it")
    assert docker.info(name="it") == "all of it"


def test_a_connection_that_breaks_while_dialling_is_told_with_the_node(monkeypatch):
    connection = samples.connections(1)[0]
    monkeypatch.setattr(engine.SshShell, "forward", lambda _self, _socket: "/nowhere")
    monkeypatch.setattr(engine.SshShell, "run", lambda _self, _command: Result(1, "", ""))

    def breaks(_socket):
        raise requests.ConnectionError("('Connection aborted.', RemoteDisconnected('urllib3'))")

    monkeypatch.setattr(engine, "client", breaks)
    with pytest.raises(NodeError) as caught:
        engine.connect(replace(connection, host="10.9.9.9"))
    assert str(caught.value).startswith(
        f"{connection.user}@10.9.9.9: Docker does not answer over ssh (the connection broke)."
    )


@pytest.fixture
def forbidden(monkeypatch):
    """An sshd that forwards no sockets, before a Docker that answers its own program; the sockets asked."""
    asked = []

    def client(socket: str) -> SimpleNamespace:
        asked.append(socket)
        if socket == "/forwarded":
            raise requests.ConnectionError("Remote end closed connection without response")
        return SimpleNamespace(by=socket, headers={})

    monkeypatch.setattr(engine, "client", client)
    monkeypatch.setattr(engine.SshShell, "forward", lambda _self, _socket: "/forwarded")
    monkeypatch.setattr(engine.SshShell, "run", lambda _self, _command: Result(0, "", ""))
    monkeypatch.setattr(engine.SshShell, "dial", lambda _self, command, _name: f"/{command}")
    return asked


def test_an_sshd_that_forwards_no_sockets_is_dialled_through_dockers_own_program(forbidden):
    assert engine._dial(samples.connections(1)[0]).by == "/docker system dial-stdio"
    assert forbidden == ["/forwarded", "/docker system dial-stdio"]


def test_where_docker_does_not_answer_its_own_program_it_is_said(forbidden, monkeypatch):
    monkeypatch.setattr(engine.SshShell, "run", lambda _self, _command: Result(1, "", "Cannot connect"))
    with pytest.raises(NodeError, match="Docker does not answer over ssh"):
        engine._dial(samples.connections(1)[0])
    assert forbidden == ["/forwarded"]


def test_every_connection_to_a_dialled_socket_is_one_run_of_the_command(monkeypatch, short_path):
    monkeypatch.setattr(ssh.tempfile, "gettempdir", lambda: str(short_path))
    shell = engine.SshShell(samples.connections(1)[0])
    monkeypatch.setattr(shell, "_ssh", lambda: ["sh", "-c", 'echo "$2"; cat', "ssh"])
    monkeypatch.setattr(shell, "_destination", lambda: "there")
    local = shell.dial("docker system dial-stdio", "d")
    for text in (b"one", b"two"):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(local)
            one.sendall(text)
            one.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda one=one: one.recv(100), b"")) == (
                b"docker system dial-stdio\n" + text
            )


def test_an_ssh_that_hangs_is_told_with_the_node(monkeypatch):
    connection = samples.connections(1)[0]
    shell = engine.SshShell(connection)
    monkeypatch.setattr(shell, "_ssh", lambda: ["sh", "-c", "sleep 5"])
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(Unreachable, match="no answer within 0 s") as caught:
        shell._control("forward")
    assert str(caught.value).startswith(connection.target)
