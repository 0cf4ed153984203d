"""A Docker Engine that pulls as it is told, and a node whose login is a folder of this machine."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from remote.ssh import Result

IMAGE = "registry.lab:5000/nvidia/release:1"
DIGEST = "registry.lab:5000/nvidia/release@sha256:" + "d" * 64
MB = 1_000_000


def layer(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    """One of Docker's messages about a layer."""
    return {"id": name, "status": status, "progressDetail": {"current": current, "total": total}}


class FakeDocker(socketserver.ThreadingUnixStreamServer):
    """`pulls`: for each pull, its steps: a message, a number of seconds to wait, or an Event to wait for;
    the image is there when all are done. A pull whose client leaves is counted as `ended`.
    """

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[str, dict[str, Any]] = {}
        self.pulls: list[list[Any]] = []
        self.refused: tuple[int, str] | None = None
        self.asked: list[dict[str, str]] = []
        self.auth: list[str] = []
        self.ended = 0
        self.root = str(path.parent)
        self.platform = "arm64"
        super().__init__(str(path), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, platform: str = "arm64") -> None:
        self.images[IMAGE] = {"Id": "sha256:1", "RepoDigests": [DIGEST], "Architecture": platform}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeDocker

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/version":
            self._answer(200, {"Arch": "arm64"})
        elif path == "/info":
            self._answer(200, {"DockerRootDir": self.server.root, "DriverStatus": [["Backing", "ext4"]]})
        else:
            found = self.server.images.get(path.removeprefix("/images/").removesuffix("/json"))
            self._answer(*((200, found) if found else (404, {"message": "No such image"})))

    def do_POST(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(query)
        self.server.auth.append(self.headers["X-Registry-Auth"])
        if self.server.refused:
            status, said = self.server.refused
            self._answer(status, {"message": said})
            return
        steps = self.server.pulls.pop(0) if self.server.pulls else []
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for step in steps:
                if isinstance(step, threading.Event):
                    while not step.wait(0.05):
                        self._chunk(b"\n")
                elif isinstance(step, dict):
                    self._chunk(json.dumps(step).encode() + b"\r\n")
                    if "error" in step:
                        self._chunk(b"")
                        return
                else:
                    time.sleep(step)
            self.server.add(self.server.platform)
            self._chunk(b"")
        except OSError:
            self.server.ended += 1
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Node:
    """A node's shell: this machine's, with a home, a folder for temporary files and a `docker` of its own.

    `layers`: what `docker manifest inspect` says, {digest: size}.
    """

    def __init__(self, folder: Path, layers: dict[str, int] | None = None) -> None:
        self.home, self.temporary = folder / "home", folder / "tmp"
        for place in (self.home, self.temporary, folder / "bin"):
            place.mkdir(parents=True)
        listed = [{"digest": f"sha256:{name:<064}", "size": size} for name, size in (layers or {}).items()]
        client = folder / "bin" / "docker"
        client.write_text(f"#!/bin/sh\ncat <<'.'\n{json.dumps({'layers': listed})}\n.\n")
        client.chmod(0o755)
        self.path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.commands: list[str] = []
        self.sent: list[str] = []

    def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
        self.commands.append(command)
        self.sent.append(stdin)
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            env={"HOME": str(self.home), "TMPDIR": str(self.temporary), "PATH": self.path},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """Nothing to close."""

    def renew(self) -> None:
        """Likewise."""

    def left(self) -> list[str]:
        """What is there of ours."""
        return sorted(path.name for path in self.temporary.iterdir())

    def status(self) -> dict[str, Any]:
        """The job's, {} where there is none."""
        for path in self.temporary.glob("*/status.json"):
            with suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads(path.read_text())
                return found
        return {}

    def kill(self) -> None:
        """End a job that a test left behind."""
        with suppress(ProcessLookupError, KeyError):
            os.kill(self.status()["pid"], signal.SIGKILL)
