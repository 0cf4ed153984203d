"""What sshd's settings change: a real one on this machine, before a Docker that answers two questions."""

from __future__ import annotations

import gc
import getpass
import http.server
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from remote import engine, ssh
from remote.rank0 import files, peers
from remote.ssh import Connection, SshShell

SSHD = "/usr/sbin/sshd"
pytestmark = pytest.mark.skipif(not os.path.exists(SSHD), reason="needs openssh-server")
#: What the node's docker does for `system dial-stdio`, and for `version`.
DOCKER = """#!{python} -SI
import os, socket, sys, threading
if sys.argv[1] == "version":
    sys.exit()
engine = socket.socket(socket.AF_UNIX)
engine.connect({path!r})
def ask():
    while data := os.read(0, 65536):
        engine.sendall(data)
    engine.shutdown(socket.SHUT_WR)
threading.Thread(target=ask, daemon=True).start()
while data := engine.recv(65536):
    os.write(1, data)
"""


class Engine(http.server.BaseHTTPRequestHandler):
    """A Docker Engine, as far as a client asks at first."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Name": "spark-1"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Nothing to say."""


@dataclass
class Sshd:
    """One that runs."""

    connection: Connection
    log: Path

    @property
    def logins(self) -> int:
        return self.log.read_text().count("Accepted publickey")


def key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture
def sshd(tmp_path, short_path, monkeypatch) -> Iterator[Callable[..., Sshd]]:
    """Starts one with these lines in its settings."""
    monkeypatch.setattr(ssh.tempfile, "gettempdir", lambda: str(short_path))
    monkeypatch.setattr(engine, "DOCKER_SOCKET", str(tmp_path / "docker.sock"))
    started: list[subprocess.Popen[bytes]] = []
    shells: list[SshShell] = []

    def start(*lines: str) -> Sshd:
        host_key = key(tmp_path / "host")
        (tmp_path / "authorized").write_text(key(tmp_path / "mine"))
        (tmp_path / "docker").write_text(
            DOCKER.format(python=os.path.realpath(sys.executable), path=str(tmp_path / "docker.sock"))
        )
        (tmp_path / "docker").chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = [
            *lines,
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {tmp_path}/host",
            f"AuthorizedKeysFile {tmp_path}/authorized",
            f"SetEnv PATH={tmp_path}:/usr/bin:/bin",
            "StrictModes no",
            "PidFile none",
        ]
        (tmp_path / "sshd_config").write_text("\n".join(settings) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        log = tmp_path / "sshd.log"
        with log.open("wb") as output:
            started.append(
                subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=output)
            )
        deadline = time.monotonic() + 10
        while "listening on" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        connection = Connection("127.0.0.1", getpass.getuser(), port, host_key, str(tmp_path / "mine"))
        shells.append(SshShell(connection))
        return Sshd(connection, log)

    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "docker.sock"), Engine) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield start
        for shell in shells:
            shell.close()
        for process in started:
            process.terminate()
            process.wait()
        server.shutdown()
    gc.collect()  # what docker left open is told here, not in some later test


#: docker leaves a socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "line", ["DisableForwarding yes", pytest.param("AllowStreamLocalForwarding no", marks=pytest.mark.long)]
)
def test_dockers_api_is_reached_where_sshd_forwards_no_sockets(sshd, line):
    """Three programs that ask four things at a time need one login: none keeps its sessions."""
    node = sshd(line)
    for _ in range(3):
        docker = engine.NodeDocker("spark-1", lambda: engine._dial(node.connection))
        answers: list[str] = []
        threads = [
            threading.Thread(
                target=lambda to, docker: to.append(docker.info()["Name"]), args=(answers, docker)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["spark-1"] * 4
    assert node.logins == 1


def test_the_head_logs_in_once_for_all_it_asks_of_a_worker(sshd, tmp_path, monkeypatch):
    """ufw's limit refuses the sixth login within 30 s, and every one that follows it."""
    worker = sshd()
    run = tempfile.mkdtemp(dir="/tmp")  # a socket's path is short
    monkeypatch.setattr(files, "RUN", run)
    monkeypatch.setattr(files, "KEY", str(tmp_path / "mine"))
    there = worker.connection
    rank = {"address": there.host, "user": there.user, "port": there.port, "host_key": there.host_key}
    files.write({"ranks": [{"address": "10.0.0.1"}, rank]})
    peers.wait({"ranks": [{}, {"rank": 1, **rank}]}, threading.Event())
    listening = subprocess.Popen(files.ssh(there.host, "sleep 60"))
    for _ in range(5):
        done = subprocess.run(files.ssh(there.host, "true"), capture_output=True, check=True, timeout=10)
        assert done.stderr == b""
    assert worker.logins == 1
    subprocess.run([*files.ssh(there.host)[:-1], "-O", "exit", there.host], check=True,
                   capture_output=True)  # fmt: skip
    listening.wait(10)
    shutil.rmtree(run)
