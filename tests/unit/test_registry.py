"""Asking a registry: what Docker's texts mean, the operator's question over HTTPS, the node's program."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import registry
from cluster.facts import Image
from cluster.image_name import parsed
from cluster.registry import Answer
from remote import registry as remote_registry
from remote.node import probe
from remote.node import registry as node_registry
from remote.ssh import Result
from tests import samples

ENV = ["PATH=/bin", "TRT_LLM_VERSION=1.3.0rc13", "SECRET=x", "CUDA_DRIVER_VERSION=580.95.05"]
ARM = "linux/arm64"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("manifest unknown: manifest unknown", "missing"),
        ('failed to resolve reference "r/a:b": r/a:b: not found', "missing"),
        ("errors:\ndenied: requested access to the resource is denied\nunauthorized: x", "denied"),
        ("no basic auth credentials", "denied"),
        ('Get "https://r/v2/": dial tcp 10.0.0.1:5000: connect: connection refused', "unreachable"),
        ('Get "https://r/v2/": dial tcp: lookup r: no such host', "unreachable"),
        ('Get "https://r/v2/": tls: failed to verify certificate: x509: unknown authority', "untrusted"),
        ("http: server gave HTTP response to HTTPS client", "untrusted"),
        ("toomanyrequests: You have reached your unauthenticated pull rate limit.", "busy"),
        ("received unexpected HTTP status: 503 Service Unavailable", "busy"),
        ("received unexpected HTTP status: 500 Internal Server Error", "busy"),
        ("manifest for r:500/a/b:503 not found: manifest unknown", "missing"),
        ('Get "https://r/v2/": net/http: TLS handshake timeout', "unreachable"),
        ("page is gone", "unknown"),
    ],
)
def test_what_docker_says(text, word):
    for form in (json.dumps({"message": text}), text):
        found = registry.of_docker({"error": form})
        assert found.word == word
        assert found.said
        assert "{" not in found.said


def test_what_is_said_is_one_short_line_without_credentials():
    said = registry.refused("\x1b[31mhttps://me:secret@proxy/ failed\n" + "x" * 5000).said
    assert "secret" not in said
    assert "\x1b" not in said
    assert "\n" not in said
    assert len(said) <= registry.SAID_LETTERS


@pytest.mark.parametrize(
    "raw", [None, "x", [None, "y", {}], [{"os": "a b", "architecture": "\n"}], {"os": 1}]
)
def test_nonsense_about_platforms_is_none(raw):
    assert registry.platforms(raw) == ()


def test_dockers_good_answer():
    digest = "sha256:" + "a" * 64
    listed = [{"os": "linux", "architecture": one} for one in ("arm64", "amd64")]
    listed.append({"os": "unknown", "architecture": "unknown"})
    found = registry.of_docker({"descriptor": {"digest": digest}, "platforms": listed})
    assert found == Answer("there", digest=digest, platforms=("linux/arm64", "linux/amd64"))
    assert registry.of_docker({"descriptor": "?", "platforms": None}) == Answer("there")
    assert registry.of_docker({"silent": True}).word == "silent"


def digest_of(document: bytes) -> str:
    return "sha256:" + hashlib.sha256(document).hexdigest()


CONFIG = json.dumps({"os": "linux", "architecture": "arm64", "config": {"Env": ENV}}).encode()
MANIFEST = json.dumps({"schemaVersion": 2, "config": {"digest": digest_of(CONFIG)}}).encode()
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": digest_of(MANIFEST), "platform": {"os": "linux", "architecture": "arm64"}},
        ],
    }
).encode()


class Registry(http.server.BaseHTTPRequestHandler):
    """The registry's API: index, manifest and configuration of one image; `how` is its mood."""

    how: str = ""
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        login = self.headers.get("Authorization")
        self.asked.append((self.path, login))
        host = self.headers["Host"]
        if self.path.startswith("/token?"):
            return self._send(200, json.dumps({"token": "t0k"}).encode())
        if self.how == "token" and login != "Bearer t0k":
            realm = f'Bearer realm="https://{host}/token",service="r",scope="ignored"'
            return self._send(401, b"{}", ("WWW-Authenticate", realm))
        if self.how == "http-token":
            return self._send(401, b"{}", ("WWW-Authenticate", f'Bearer realm="http://{host}/token"'))
        if self.how == "basic":
            return self._send(401, b"{}", ("WWW-Authenticate", 'Basic realm="r"'))
        if self.how == "endless":
            return self._send(200, b"x" * (remote_registry.MANIFEST_BYTES + 1))
        if self.how == "no-json":
            return self._send(200, b"<html>captive portal</html>")
        if self.how == "busy":
            return self._send(503, b"")
        config = CONFIG.replace(b"rc13", b"rc20") if self.how == "changed" else CONFIG
        parts = {"index": INDEX, "single": MANIFEST, digest_of(MANIFEST): MANIFEST, digest_of(CONFIG): config}
        found = parts.get(self.path.rpartition("/")[2])
        if found is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return self._send(404, json.dumps(error).encode())
        return self._send(200, found)

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_words: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-subj", "/CN=r", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    words += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return folder


@contextmanager
def serving(folder: Path, how: str = "") -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    handler = type("Handler", (Registry,), {"how": how, "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return certificate


def ask(folder: Path, tag: str, how: str = "", seconds: float = 8) -> Answer:
    with serving(folder, how) as (host, _):
        return remote_registry.of_operator(parsed(f"{host}/a/tensorrt-llm:{tag}"), ARM, seconds)


@pytest.mark.parametrize(("tag", "index"), [("index", INDEX), ("single", MANIFEST)])
def test_platforms_digest_and_what_the_image_tells(trusted, tag, index):
    found = ask(trusted, tag)
    assert (found.word, found.digest) == ("there", digest_of(index))
    assert ARM in found.platforms
    assert found.env == {"TRT_LLM_VERSION": "1.3.0rc13", "CUDA_DRIVER_VERSION": "580.95.05"}


def test_an_anonymous_token_goes_to_the_registry_and_nowhere_else(trusted, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(trusted, "token") as (host, asked):
        found = remote_registry.of_operator(parsed(f"{host}/a/b:index"), ARM)
    assert (found.word, found.env["TRT_LLM_VERSION"]) == ("there", "1.3.0rc13")
    token = next(path for path, _ in asked if path.startswith("/token"))
    assert "scope=repository%3Aa%2Fb%3Apull" in token
    assert {login for path, login in asked if path.startswith("/token")} == {None}
    assert {login for _, login in asked} == {None, "Bearer t0k"}, "nothing of ~/.netrc"


@pytest.mark.parametrize(
    ("how", "tag", "word"),
    [
        ("", "typo", "missing"),
        ("basic", "index", "denied"),
        ("http-token", "index", "denied"),
        ("busy", "index", "busy"),
        ("endless", "index", "unknown"),
        ("no-json", "index", "unknown"),
        ("changed", "index", "unknown"),
    ],
)
def test_what_it_refuses_and_what_is_not_believed(trusted, how, tag, word):
    assert ask(trusted, tag, how).word == word


def test_no_trust_and_no_connection(certificate, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert ask(certificate, "index").word == "untrusted"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = remote_registry.of_operator(parsed(f"127.0.0.1:{port}/a/b"), ARM)
    assert found == Answer("unreachable", "Connection refused")


def test_one_that_never_answers_is_left_in_time():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        found = remote_registry.of_operator(parsed(f"127.0.0.1:{deaf.getsockname()[1]}/a/b"), ARM, 0.3)
    assert found.word == "silent"


@contextmanager
def docker(monkeypatch, folder: Path, status: str, body: bytes) -> Iterator[list[str]]:
    """A Docker that gives one answer on a socket; what it was asked."""
    path, asked = folder / "docker.sock", []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            there, _ = server.accept()
            with there:
                asked.extend(there.recv(65536).decode().split("\r\n")[:-2])
                if status:
                    there.sendall(f"HTTP/1.0 {status}\r\n\r\n".encode() + body)
                else:
                    there.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setattr(probe, "SOCKET", str(path))
        yield asked


def test_the_nodes_docker_is_asked(monkeypatch, tmp_path):
    body = json.dumps(
        {"Descriptor": {"digest": "d"}, "Platforms": [{"os": "linux", "architecture": "arm64"}]}
    )
    with docker(monkeypatch, tmp_path, "200 OK", body.encode()) as asked:
        found = node_registry.look({"image": "10.0.0.1:5000/a/b:1@sha256:ab", "seconds": 5})
    assert asked[0] == "GET /distribution/10.0.0.1:5000/a/b:1@sha256:ab/json HTTP/1.0"
    assert registry.of_docker(found).platforms == (ARM,)


def test_the_nodes_docker_asks_with_the_login_of_its_user(monkeypatch, tmp_path):
    login = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"10.0.0.1:5000": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with docker(monkeypatch, tmp_path, "404 Not Found", b"{}") as asked:
        node_registry.look({"image": "10.0.0.1:5000/a/b:1", "seconds": 5})
    [header] = [line.partition(": ")[2] for line in asked if line.startswith("X-Registry-Auth")]
    assert json.loads(base64.urlsafe_b64decode(header))["password"] == "secret"


def test_the_nodes_docker_refuses_or_is_silent(monkeypatch, tmp_path):
    with docker(monkeypatch, tmp_path, "404 Not Found", b'{"message":"manifest unknown"}'):
        assert registry.of_docker(node_registry.look({"image": "a", "seconds": 5})).word == "missing"
    (tmp_path / "docker.sock").unlink()
    with docker(monkeypatch, tmp_path, "", b""):
        assert registry.of_docker(node_registry.look({"image": "a", "seconds": 0.3})).word == "silent"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            "200 OK",
            {"RepoDigests": ["a@b"], "Os": "linux", "Architecture": "arm64", "Config": {"Env": ENV}},
            {
                "digests": ["a@b"],
                "platform": ARM,
                "env": {"TRT_LLM_VERSION": "1.3.0rc13", "CUDA_DRIVER_VERSION": "580.95.05"},
            },
        ),
        ("404 Not Found", {"message": "No such image: a"}, {}),
        ("500 Internal Server Error", {"message": "broken"}, None),
    ],
)
def test_what_the_probe_has_of_an_image(monkeypatch, tmp_path, status, body, expected):
    with docker(monkeypatch, tmp_path, status, json.dumps(body).encode()):
        assert probe._image("a", probe.time.monotonic() + 5) == expected


def test_only_where_a_node_lacks_it_and_it_is_to_be_pulled():
    asked: list[str] = []

    def shell(connection: Any) -> Any:
        asked.append(connection.host)
        raise AssertionError

    facts, connections = samples.facts(2), samples.connections(2)
    assert remote_registry.ask(samples.settings(2), facts, connections, shell) is None
    assert asked == []


def test_the_first_node_that_lacks_it_is_asked(monkeypatch):
    facts = [
        dataclasses.replace(
            one, docker=dataclasses.replace(one.docker, image_known=True, image=image, platform=ARM)
        )
        for one, image in zip(samples.facts(3), (Image(), None, None), strict=True)
    ]
    sent: list[str] = []

    class Shell:
        def __init__(self, host: str) -> None:
            self.host = host

        def run(self, command: str, stdin: str = "", timeout: float = 60) -> Result:
            sent.append(f"{self.host} {command}")
            return Result(0, json.dumps({"registry": {"error": "manifest unknown"}}), "")

    monkeypatch.setattr(remote_registry, "of_operator", lambda _name, platform: Answer("there", platform))
    settings, connections = samples.settings(3), samples.connections(3)
    found = remote_registry.ask(settings, facts, connections, lambda one: Shell(one.host))
    assert found is not None
    assert (found.lacking, found.node) == (("10.24.11.12", "10.24.11.13"), "10.24.11.12")
    assert (found.of_node.word, found.of_operator.said) == ("missing", ARM)
    assert len(sent) == 1
    assert sent[0].startswith("10.24.11.12 ")
    assert settings.image in sent[0]
    away = samples.settings(3, pullImage=False)
    assert remote_registry.ask(away, facts, connections, lambda one: Shell(one.host)) is None
