"""An ssh server and a Pulumi project for the tests of the installed plugins."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
SSHD_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
AcceptEnv LAB_*
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""


@dataclass(frozen=True)
class SshServer:
    """Where an ssh server listens, and the keys of both sides."""

    port: int
    user: str
    private_key: str
    host_key: str

    def connection(self, **changes: object) -> dict:
        """Arguments of ConnectionArgs."""
        mine = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "private_key": self.private_key,
            "host_key": self.host_key,
            "dial_error_limit": 1,
        }
        return {**mine, **changes}


def make_key(path: Path, *options: str) -> str:
    """A new key pair at `path`; the public key."""
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", *options, "-f", str(path)]
    subprocess.run(keygen, check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory):
    """A server of this machine's own sshd, for the user who runs the tests."""
    if SSHD is None:
        pytest.skip("needs openssh-server: scripts/setup lab")
    folder = tmp_path_factory.mktemp("sshd")
    host_key = make_key(folder / "host")
    (folder / "authorized").write_text(make_key(folder / "user"))
    port = free_port()
    (folder / "config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-f", folder / "config", "-E", folder / "log"])
    try:
        wait_for(port)
        user_key = (folder / "user").read_text()
        yield SshServer(port, getpass.getuser(), user_key, host_key)
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s"
        time.sleep(0.05)


def tool_settings() -> dict[str, str]:
    """The environment that `eval "$(scripts/env)"` makes."""
    script = f'eval "$("{ROOT}/scripts/env")" && env -0'
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return dict(item.split("=", 1) for item in shown.stdout.split("\0") if item)


class Project:
    """A Pulumi project in a folder of its own, whose program reads its arguments from a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **tool_settings(),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "lab",
        }
        (folder / "state").mkdir()
        settings = {"name": "python", "options": {"virtualenv": str(ROOT / ".venv")}}
        (folder / "Pulumi.yaml").write_text(json.dumps({"name": "trial", "runtime": settings}))

    def program(self, text: str) -> None:
        (self.folder / "__main__.py").write_text(text)

    def pulumi(self, *words: str, case: object = None) -> subprocess.CompletedProcess[str]:
        """Run the CLI; `case` is what the program gets as case.json."""
        (self.folder / "case.json").write_text(json.dumps(case))
        argv = ["pulumi", "--non-interactive", *words]
        return subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )

    def up(self, case: object = None) -> subprocess.CompletedProcess[str]:
        return self.pulumi("up", "--yes", "--skip-preview", case=case)

    def outputs(self) -> dict:
        return json.loads(self.pulumi("stack", "output", "--json", "--show-secrets").stdout)

    def state(self) -> str:
        return self.pulumi("stack", "export").stdout


@pytest.fixture
def project(tmp_path):
    """A new project with a stack, whose resources are removed afterwards."""
    if not (ROOT / ".tools" / "bin" / "pulumi").exists() and shutil.which("pulumi") is None:
        pytest.skip("needs Pulumi's engine: scripts/setup engine")
    project = Project(tmp_path)
    made = project.pulumi("stack", "init", "test")
    assert made.returncode == 0, made.stderr
    return project
