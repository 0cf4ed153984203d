"""A Docker Engine on a unix socket: as much of its API as the docker stand-in uses."""

import base64
import json
import socketserver
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    """`images` by name; `registry` are the names that can be pulled; `calls` is what was asked.

    A pull takes `delay` seconds, with a message every tenth of a second; `broken` is its error half-way.
    """

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.images: dict[str, dict] = {}
        self.registry: dict[str, str] = {}
        self.objects: dict[str, dict] = {}
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.builds: list[tuple[dict, bytes]] = []
        self.in_swarm = True
        self.delay = 0.0
        self.broken = ""
        self.path = path
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def add_image(self, name: str, id_: str, *digests: str) -> None:
        self.images[name] = {"Id": id_, "RepoDigests": list(digests)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._note()
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        path = self._note()
        if path.startswith("/images/"):
            name = path.removeprefix("/images/").removesuffix("/json")
            found = self.server.images.get(name)
            self._answer(*((200, found) if found else (404, {"message": f"No such image: {name}"})))
        else:
            self._object(path)

    def do_POST(self) -> None:
        path = self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not body and self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        if path == "/images/create":
            self._pull()
        elif path == "/build":
            self.server.builds.append((self.query, body))
            self.server.add_image(self.query["t"][0], "sha256:built")
            self._answer(200, {"stream": "Step 1/1 : FROM scratch\n"})
        elif not self.server.in_swarm:
            self._answer(503, {"message": "This node is not a swarm manager."})
        else:
            spec = json.loads(body)
            id_ = f"id{len(self.server.objects)}"
            self.server.objects[f"{path.removesuffix('/create')}/{id_}"] = {"ID": id_, "Spec": spec}
            self._answer(201, {"ID": id_})

    def do_DELETE(self) -> None:
        path = self._note()
        if path.startswith("/images/"):
            del self.server.images[path.removeprefix("/images/")]
            self._answer(200, [])
        elif self.server.objects.pop(path, None):
            self._answer(204)
        else:
            self._answer(404, {"message": f"{path} not found"})

    def _object(self, path: str) -> None:
        found = self.server.objects.get(path)
        self._answer(*((200, found) if found else (404, {"message": f"{path} not found"})))

    def _pull(self) -> None:
        repository, tag = self.query["fromImage"][0], self.query["tag"][0]
        separator = "@" if ":" in tag else ":"
        id_ = self.server.registry.get(f"{repository}{separator}{tag}")
        if id_ is None:
            self._answer(404, {"message": f"manifest for {repository}:{tag} not found"})
            return
        layer = {"id": "l1", "status": "Downloading"}
        if self.server.delay:
            self._slowly({**layer, "progressDetail": {"current": 1, "total": 2**22}})
            return
        if self.server.broken:
            self._answer(200, layer, {"error": self.server.broken})
            return
        self.server.add_image(f"{repository}{separator}{tag}", id_, f"{repository}@sha256:{id_}d")
        self._answer(
            200,
            {**layer, "progressDetail": {"current": 2**20, "total": 2**22}},
            {"id": "l1", "status": "Download complete"},
        )

    def _slowly(self, message: object) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):  # the client had enough
            for _ in range(int(self.server.delay * 10)):
                self.wfile.write(json.dumps(message).encode() + b"\r\n")
                time.sleep(0.1)
        self.close_connection = True

    def _note(self) -> str:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        path = unquote(url.path).removeprefix("/v1.41")
        self.server.calls.append(f"{self.command} {path}")
        self.server.headers.append(dict(self.headers))
        return path

    def _answer(self, status: int, *documents: object) -> None:
        body = "".join(json.dumps(document) + "\r\n" for document in documents).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def decoded_auth(headers: dict[str, str]) -> dict:
    """The credentials in a pull's headers."""
    return json.loads(base64.urlsafe_b64decode(headers["X-Registry-Auth"]))
