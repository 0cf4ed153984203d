"""A node in a folder, with a Docker that takes its settings as Docker does, for the program that prepares."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from remote.node import as_root, docker_daemon, gpu_runtime, node_lock

TOML = (Path(__file__).parent / "fixtures/files/container-runtime-config.toml").read_text()
CONFIG = "etc/nvidia-container-runtime/config.toml"


class Machine:
    """A node in a folder, with a Docker that takes its settings as Docker does (dgx-os facts, SIGHUP table).

    A start takes all of them; a reload takes runtimes and default-runtime, and those only where the file has
    them. A broken file keeps a start from happening, and is ignored by a reload.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon, self.toml = root / "etc/docker/daemon.json", root / CONFIG
        self.record = root / "var/lib/trtspark/gpu-runtime.json"
        self.calls: list[tuple[str, ...]] = []
        self.runs, self.active = True, True
        self.version, self.refuses = "20.10.24", ""
        self.deaf = False
        self.options: list[str] = ["-H", "fd://"]
        self.has: dict[str, Any] = {"runtimes": {}, "default-runtime": "runc", "node-generic-resources": []}
        self.live_restore = False
        self.old_login = False
        self.members = ["nvidia"]
        self.toml.parent.mkdir(parents=True)
        self.toml.write_text(TOML)

    @property
    def restarts(self) -> int:
        return self.calls.count(("systemctl", "restart", "docker"))

    @property
    def reloads(self) -> int:
        return self.calls.count(("systemctl", "reload", "docker"))

    def settings(self) -> dict[str, Any] | None:
        text = self.daemon.read_text() if self.daemon.exists() else "{}"
        if not text.strip() and int(self.version.split(".")[0]) >= 23:
            text = "{}"
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return None if found.get("bogus") else found

    def start(self) -> None:
        found = self.settings()
        self.runs = found is not None
        if found is not None and not self.deaf:
            self.has = {
                "runtimes": found.get("runtimes", {}),
                "default-runtime": found.get("default-runtime", "runc"),
                "node-generic-resources": found.get("node-generic-resources", []),
            }

    def sudo(self, *words: str, text: str | None = None) -> str:
        self.calls.append(words)
        match words:
            case ("systemctl", "restart", "docker"):
                self.start()
            case ("systemctl", "reload", "docker"):
                found = self.settings() or {}
                self.has |= {key: found[key] for key in ("runtimes", "default-runtime") if key in found}
            case ("systemctl", "reset-failed", "docker"):
                pass
            case ("usermod", "-aG", "docker", user):
                self.members.append(user)
            case ("gpasswd", "-d", user, "docker"):
                self.members.remove(user)
            case ("mkdir" | "cp" | "tee" | "mv" | "cat" | "rm" | "rmdir", *_):
                return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
            case _:
                raise AssertionError(words)
        return ""

    def run(self, words: list[str]) -> dict[str, Any]:
        """What the plain user runs."""
        out, err, code = "", "", 0
        match words:
            case ["docker", "info", *_] if self.runs:
                specs = [one.split("=") for one in self.has["node-generic-resources"]]
                out = json.dumps(
                    {
                        "ServerVersion": self.version,
                        "Runtimes": {"runc": {}, **self.has["runtimes"]},
                        "DefaultRuntime": self.has["default-runtime"],
                        "GenericResources": [
                            {"NamedResourceSpec": {"Kind": k, "Value": v}} for k, v in specs
                        ],
                        "LiveRestoreEnabled": self.live_restore,
                    }
                )
            case ["docker", "info", *_]:
                out, code = json.dumps({"ServerErrors": ["Cannot connect"]}), 1
            case ["docker", "version", *_]:
                err, code = ("", 0) if self.runs else ("Cannot connect to the Docker daemon\n", 1)
            case ["systemctl", "is-active", "docker"]:
                out = "active\n" if self.active else "inactive\n"
            case ["/usr/bin/dockerd", "--version"]:
                out = f"Docker version {self.version}, build 0\n"
            case ["/usr/bin/dockerd", *_, "--validate", "--config-file", path]:
                assert json.loads(Path(path).read_text()) is not None
                if self.refuses:
                    err = f"unable to configure the Docker daemon with file {path}: {self.refuses}\n"
                    code = 1
            case _:
                raise AssertionError(words)
        return {"rc": code, "out": out, "err": err}

    def write(self, text: str) -> None:
        self.daemon.parent.mkdir(parents=True, exist_ok=True)
        self.daemon.write_bytes(text.encode())


def install(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the node's program meet this machine."""
    for name, value in (("DAEMON", made.daemon), ("TOML", made.toml), ("RECORD", made.record)):
        monkeypatch.setattr(gpu_runtime, name, str(value))
    monkeypatch.setattr(as_root, "sudo", made.sudo)
    monkeypatch.setattr(as_root, "run", _either(made, as_root.run))
    monkeypatch.setattr(node_lock, "PLACE", str(made.root))
    monkeypatch.setattr(docker_daemon.shutil, "which", lambda *_a, **_n: "/usr/bin/dockerd")
    monkeypatch.setattr(docker_daemon, "command_line", lambda: ["/usr/bin/dockerd", *made.options])
    monkeypatch.setattr(docker_daemon, "RESTART_DEADLINE_S", 0.2)
    monkeypatch.setattr(docker_daemon, "RELOAD_DEADLINE_S", 0.2)
    monkeypatch.setattr(gpu_runtime, "user", lambda: "nvidia")
    monkeypatch.setattr(gpu_runtime, "in_group", lambda: "nvidia" in made.members)
    monkeypatch.setattr(gpu_runtime, "old_login", lambda: made.old_login)
    monkeypatch.setattr(gpu_runtime, "group_members", lambda: made.members)


def _either(machine: Machine, real: Any) -> Any:
    def run(words: Any, **named: Any) -> Any:
        ours = words[0] in ("docker", "systemctl", "/usr/bin/dockerd")
        return machine.run(list(words)) if ours else real(words, **named)

    return run
