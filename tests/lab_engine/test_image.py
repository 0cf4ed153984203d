"""The serving image: sources, layers, configuration, and pushing it to a registry with TLS."""

import hashlib
import http.server
import io
import json
import ssl
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from lab import image, image_layer
from lab.engine.tensorrt_llm.executor.rank import NCCL_VERSIONS
from lab.engine.tensorrt_llm.version import at_least
from lab.image_base import Release, release_for
from lab.image_push import Registry, manifest_of

DEB822 = """\
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
"""


def system(folder, os_release, sources):
    (folder / "etc/apt/sources.list.d").mkdir(parents=True)
    (folder / "etc/os-release").write_text(os_release)
    for name, text in sources.items():
        (folder / "etc/apt" / name).write_text(text)
    return folder


PORTS = "http://ports.ubuntu.com/ubuntu-ports"


BOOKWORM = "ID=debian\nVERSION_CODENAME=bookworm\n"
MIRROR = "http://deb.debian.org/debian"
BOTH = {"sources.list.d/debian.sources": DEB822, "sources.list.d/x.list": "deb http://x.example x main\n"}
ONE_LINE = {"sources.list": f"# old\ndeb [arch=arm64 signed-by=/k.gpg] {PORTS} noble main\n"}


@pytest.mark.parametrize(
    ("openmpi", "os_release", "sources", "found"),
    [
        (4, BOOKWORM, BOTH, ("bookworm", MIRROR, "main")),
        (5, BOOKWORM, BOTH, ("trixie", MIRROR, "main")),
        (4, 'ID=ubuntu\nVERSION_CODENAME="noble"\n', ONE_LINE, ("noble", PORTS, "main,universe")),
    ],
)
def test_the_release_with_that_openmpi(tmp_path, openmpi, os_release, sources, found):
    release = release_for(openmpi, system(tmp_path, os_release, sources))
    assert (release.suite, release.mirror, release.components) == found
    assert isinstance(release, Release)


@pytest.mark.parametrize(
    ("os_release", "said"),
    [("ID=fedora\n", "needs Debian or Ubuntu"), ("ID=debian\nVERSION_CODENAME=sid\n", "no source for sid")],
)
def test_no_release(tmp_path, os_release, said):
    with pytest.raises(RuntimeError, match=said):
        release_for(4, system(tmp_path, os_release, {}))


def contents(layer):
    with tarfile.open(layer.path) as tar:
        return {member.name: member for member in tar}


def test_the_engines_layer_is_the_same_every_time(tmp_path):
    magic = image.importlib.util.MAGIC_NUMBER.hex()
    first, second = (
        image_layer.pack(image.engine_members(magic), tmp_path / name) for name in ("a.tar.gz", "b.tar.gz")
    )
    assert (first.digest, first.diff_id, first.size) == (second.digest, second.diff_id, second.size)
    assert first.digest == f"sha256:{hashlib.sha256(first.path.read_bytes()).hexdigest()}"
    assert first.size == first.path.stat().st_size
    members = contents(first)
    assert members["usr/local/bin/trtllm-serve"].mode == 0o755
    assert members["opt/nvidia/nvidia_entrypoint.sh"].mode == 0o755
    modules = "usr/lib/python3/dist-packages/tensorrt_llm"
    assert f"{modules}/llmapi/mgmn_leader_node.py" in members
    assert any(name.startswith(f"{modules}/__pycache__/") for name in members)


def test_another_python_in_the_image_gets_no_byte_code(tmp_path):
    layer = image_layer.pack(image.engine_members("00"), tmp_path / "a.tar.gz")
    assert not any(name.endswith(".pyc") for name in contents(layer))


def test_the_configuration_is_the_real_images(tmp_path):
    layer = image_layer.Layer(tmp_path, "sha256:d", "sha256:i", 3, "")
    config = json.loads(image.image_config([layer, layer], "1.3.0rc29"))
    settings = config["config"]
    assert settings["Entrypoint"] == ["/opt/nvidia/nvidia_entrypoint.sh"]
    assert settings["WorkingDir"] == "/app/tensorrt_llm"
    assert {"BASH_ENV=/etc/bash.bashrc", "NVIDIA_VISIBLE_DEVICES=all", "TRT_LLM_VERSION=1.3.0rc29"} <= set(
        settings["Env"]
    )
    assert config["rootfs"]["diff_ids"] == ["sha256:i"] * 2


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.1", ["CUDA_DRIVER_VERSION=580.95.05", "NCCL_VERSION=2.27.7", "OPENMPI_VERSION=4.1.7"]),
        ("1.3.0rc5", ["CUDA_DRIVER_VERSION=590.44.01", "NCCL_VERSION=2.28.9", "OPENMPI_VERSION=4.1.7"]),
        ("1.3.0rc27", ["CUDA_DRIVER_VERSION=595.45.04", "NCCL_VERSION=2.30.7", "OPENMPI_VERSION=5.0.8"]),
    ],
)
def test_the_base_of_a_release_is_in_its_environment(version, expected):
    config = json.loads(image.image_config([], version))
    assert {*expected, "NVIDIA_REQUIRE_CUDA=cuda>=9.0"} <= set(config["config"]["Env"])


def test_nccl_is_the_simulated_engines():
    """The environment and the engine's log name the same version."""
    for first, names in image.BASES:
        told = next((nccl for since, nccl in NCCL_VERSIONS if at_least(since, first)), "2.27.7")
        assert names["NCCL_VERSION"] == told.partition("+")[0]


class FakeRegistry(http.server.BaseHTTPRequestHandler):
    """The registry's API in memory."""

    protocol_version = "HTTP/1.1"
    stored: dict[str, bytes]
    pushed: list[str]

    def do_GET(self):
        self.answer(*((200, self.stored[self.path]) if self.path in self.stored else (404, b"{}")))

    do_HEAD = do_GET  # noqa: N815 (likewise)

    def do_POST(self):
        self.answer(202, b"", Location=f"https://{self.headers['Host']}{self.path}u1?state=x")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path
        if "/uploads/" in path:
            digest = path.partition("digest=")[2]
            if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
                return self.answer(400, b"digest invalid")
            path = f"{path.partition('uploads/')[0]}{digest}"
        self.stored[path] = body
        self.pushed.append(path.rpartition("/")[2])
        return self.answer(201, b"")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        return


@pytest.fixture
def registry(tmp_path):
    """(HOST:PORT, CA file, what was pushed) of a registry on this machine."""
    key, ca = tmp_path / "key.pem", tmp_path / "ca.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    make += ["-days", "2", "-subj", "/CN=lab", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, "-keyout", key, "-out", ca], check=True, capture_output=True)
    handler = type("Handler", (FakeRegistry,), {"stored": {}, "pushed": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", ca, handler
        server.shutdown()
        thread.join()


def base_layer(cache, _say, _openmpi):
    """A small base in place of debootstrap's."""
    info = tarfile.TarInfo("etc/debian_version")
    return image_layer.pack(iter([(info, b"12\n")]), Path(cache) / "base.tar.gz", "00")


def test_publishing_twice_pushes_once(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(image, "build", base_layer)
    address, ca, handler = registry
    said = []
    name = image.publish(address, ca, tmp_path, say=said.append)
    assert name == f"{address}/nvidia/tensorrt-llm/release:1.3.0rc5"
    assert len(handler.pushed) == 5  # three layers, the configuration, the manifest
    manifest = json.loads(handler.stored["/v2/nvidia/tensorrt-llm/release/manifests/1.3.0rc5"])
    for part in (manifest["config"], *manifest["layers"]):
        blob = handler.stored[f"/v2/nvidia/tensorrt-llm/release/blobs/{part['digest']}"]
        assert len(blob) == part["size"]
    config = json.loads(
        handler.stored[f"/v2/nvidia/tensorrt-llm/release/blobs/{manifest['config']['digest']}"]
    )
    layer = handler.stored[f"/v2/nvidia/tensorrt-llm/release/blobs/{manifest['layers'][1]['digest']}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert "usr/local/bin/trtllm-llmapi-launch" in tar.getnames()
    assert len(config["rootfs"]["diff_ids"]) == 3
    image.publish(address, ca, tmp_path, say=said.append)
    assert len(handler.pushed) == 5


def test_a_registrys_refusal_is_told(registry):
    address, ca, _ = registry
    with (
        Registry(address, ca) as target,
        pytest.raises(RuntimeError, match="answered 400 instead of 201: digest invalid"),
    ):
        target.push_blob("a/b", "sha256:wrong", b"content")


def test_a_certificate_of_someone_else(registry, tmp_path):
    address, _, _ = registry
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        Registry(address, Path(ssl.get_default_verify_paths().openssl_cafile)) as target,
    ):
        target.push_blob("a/b", "sha256:x", b"")


def test_the_manifest_names_layers_from_the_base_up():
    document = json.loads(manifest_of(b"{}", "sha256:c", [("sha256:1", 10), ("sha256:2", 20)]))
    assert document["schemaVersion"] == 2
    assert [layer["digest"] for layer in document["layers"]] == ["sha256:1", "sha256:2"]
