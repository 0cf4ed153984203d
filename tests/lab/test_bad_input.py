"""What bad input gets: one clear error, at preview, with nothing touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.state import Lab
from tests.lab import stack as stacks

#: A user of htpasswd's form whose password nobody has.
NOBODY = "nobody:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde\n"
#: What an image of somebody's own has in its environment.
CHANGES = "--change 'ENV TRT_LLM_VERSION=1.3.0rc13' --change 'ENV CUDA_DRIVER_VERSION=580.199.01'"
pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    return stacks.create(tmp_path_factory.mktemp("bad") / "project", lab)


@contextmanager
def broken(lab, node: int, breaking: str, mending: str) -> Iterator[None]:
    """A node that somebody broke by hand, mended afterwards."""
    stacks.inside(lab, node, breaking)
    try:
        yield
    finally:
        stacks.inside(lab, node, mending)


@contextmanager
def closed_registry(lab, address: str, folder: Path) -> Iterator[None]:
    """A second registry with the lab's certificate, which lets nobody in without a password."""
    there = Lab(lab["name"]).registry
    (folder / "users").write_text(NOBODY)
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "auth": {"htpasswd": {"realm": "lab", "path": str(folder / "users")}},
        "http": {
            "addr": address,
            "tls": {"certificate": str(there / "server.pem"), "key": str(there / "server.key")},
        },
    }
    (folder / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    host, _, port = address.partition(":")
    try:
        stacks.until(lambda: listens(host, int(port)), 15, "the second registry")
        yield
    finally:
        process.kill()
        process.wait()


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def refused(stack, *parts: str) -> None:
    """Preview fails with one error that has all `parts`, and no trace of a program."""
    run = stack.pulumi("preview", ok=False)
    assert run.code != 0, run.text
    for part in parts:
        assert part in run.text, run.text
    assert "Traceback" not in run.text


@pytest.fixture(autouse=True)
def nothing_is_touched(stack, lab):
    before = stacks.leavings(lab)
    config = (stack.folder / "Pulumi.lab.yaml").read_text()
    yield
    (stack.folder / "Pulumi.lab.yaml").write_text(config)
    stacks.same(lab, before)


def nodes(lab, **second):
    first, other = lab["nodes"]
    return [{"host": first["host"]}, {"host": other["host"], **second}]


def test_unknown_key(stack):
    stack.set("modle", "x/y")
    refused(stack, "modle: unknown key; did you mean model?")


def test_unreachable_host(stack, lab):
    other = lab["subnet"].removesuffix("0/24") + "99"
    stack.set("nodes", nodes(lab, host=other, hostKey=lab["nodes"][1]["host_key"]))
    refused(stack, f"nvidia@{other}", "Is it on")


def test_wrong_port(stack, lab):
    stack.set("nodes", nodes(lab, port=2222, hostKey=lab["nodes"][1]["host_key"]))
    refused(stack, ":2222: nothing listens on port 2222", "nodes[].port")


def test_wrong_user(stack, lab):
    stack.set("nodes", nodes(lab, user="nobody"))
    refused(stack, "the login of user nobody was refused", "ssh-copy-id")


def test_key_refused(stack):
    key = stack.folder / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    stack.set("sshKey", str(key))
    refused(stack, "the login of user nvidia was refused")


def test_host_key_changed(stack, lab):
    stack.set("nodes", nodes(lab, hostKey=lab["nodes"][0]["host_key"]))
    refused(stack, "its host key is not the pinned one", "ssh-keyscan")


def test_host_key_unknown(stack):
    stack.set("knownHosts", str(stack.folder / "none"))
    refused(stack, "its host key is not known")


def test_one_node_listed_twice(stack, lab):
    stack.set("nodes", nodes(lab, host=lab["nodes"][0]["host"]))
    refused(stack, "is listed twice")


def test_model_with_a_typo(stack):
    """Nobody was asked whether there is such a model, so it may be spelt right: no other is proposed."""
    stack.set("model", "openai/gpt-oss-20")
    refused(stack, "model openai/gpt-oss-20 is not in", "`hf download openai/gpt-oss-20`")


def test_model_that_is_not_whole(stack):
    stack.set("model", "lab/missing-shard")
    refused(stack, "lab/missing-shard is not whole", "is missing")


def test_port_in_use(stack, lab):
    start = "nohup python3 -m http.server 8355 >/dev/null 2>&1 & sleep 0.5"
    with broken(lab, 0, start, "pkill -f 'http.server 8355'"):
        refused(stack, "port 8355 is in use by another program", "pulumi config set port 8356")


def test_image_with_a_typo(stack):
    """A tag that is not there, and a repository that is not: the registry was asked by a node."""
    name = stack.get("image")
    for wrong in (f"{name}5", name.replace("release", "relaese")):
        stack.set("image", wrong)
        refused(
            stack, f"{wrong} cannot be pulled", "has no such image (manifest unknown", "Is it spelt right?"
        )


def test_registry_that_is_not_there(stack):
    stack.set("image", "nvcr.invalid/nvidia/tensorrt-llm/release:1.3.0rc5")
    refused(stack, "Docker cannot reach nvcr.invalid (", "lookup nvcr.invalid", "Docker's proxy settings")


def test_registry_of_another_ca_and_one_that_wants_a_login(stack, lab, tmp_path):
    """First nobody trusts its certificate, then the node does and it wants a login."""
    name = stack.get("image")
    host, _, path = name.partition("/")
    other = f"{host.partition(':')[0]}:5555"
    stack.set("image", f"{other}/{path}")
    with closed_registry(lab, other, tmp_path):
        refused(stack, f"Docker does not trust the certificate of {other}", "/etc/docker/certs.d/")
        folder = f"/etc/docker/certs.d/{other}"
        trusting = f"cp -r /etc/docker/certs.d/{host} {folder}"
        with broken(lab, 0, trusting, f"rm -r {folder}"):
            refused(stack, "wants a login, or has no such image (", "`docker login ")


def test_image_that_fails_on_two_sparks(stack):
    """By its tag alone, before anything is pulled; the key that deploys it all the same is named."""
    repository = stack.get("image").rpartition(":")[0]
    stack.set("image", f"{repository}:1.3.0rc13")
    refused(stack, "TensorRT-LLM 1.3.0rc13 on 2 ranks", "allowUntestedImage true", "issues/12715")


def test_image_of_ones_own_that_fails_on_two_sparks(stack, lab):
    """Its name tells nothing, and nothing is started from it: the image itself says which release it is."""
    name = "example.com/mine:7"
    stack.set("image", name)
    stack.set("pullImage", False)
    loaded = f"tar --create --file=- --files-from=/dev/null | docker import {CHANGES} - {name}"
    removed = f"docker image rm {name}"
    with broken(lab, 0, loaded, removed), broken(lab, 1, loaded, removed):
        refused(stack, "TensorRT-LLM 1.3.0rc13 on 2 ranks", "allowUntestedImage true")
        stack.set("allowUntestedImage", True)
        run = stack.pulumi("preview")
        assert "TensorRT-LLM 1.3.0rc13 on 2 ranks" in run.text
        assert "the image was built for NVIDIA driver 580.199 or later" in run.text


def test_image_that_is_not_there_and_not_to_be_pulled(stack):
    stack.set("image", f"{stack.get('image')}-absent")
    stack.set("pullImage", False)
    refused(stack, "it has no image", "and pullImage is false", "docker pull")


def test_no_docker(stack, lab):
    with broken(lab, 1, "systemctl stop docker", "systemctl reset-failed docker; systemctl start docker"):
        refused(stack, "Docker does not answer", "systemctl start docker")


def test_no_permission_on_dockers_socket(stack, lab):
    logged_out = "; pkill -u nvidia sshd || true"
    with broken(lab, 1, "gpasswd -d nvidia docker" + logged_out, "gpasswd -a nvidia docker"):
        refused(stack, "may not use Docker's socket", "usermod -aG docker nvidia")
    # Mended, it works at once: the login that lacked the group is not used again.
    assert stack.pulumi("preview").code == 0


def test_no_gpu(stack, lab):
    fake = "#!/bin/sh\\necho No devices were found\\nexit 6\\n"
    breaking = f"cp /usr/bin/nvidia-smi /root/kept; printf '{fake}' >/usr/bin/nvidia-smi"
    with broken(lab, 1, breaking, "cat /root/kept >/usr/bin/nvidia-smi; rm /root/kept"):
        refused(stack, "no GPU found: nvidia-smi says 'No devices were found'")


def test_malformed_daemon_json_is_never_overwritten(stack, lab):
    text = '{"log-level": "warn",}'
    with broken(lab, 1, f"printf '%s' '{text}' >/etc/docker/daemon.json", "rm /etc/docker/daemon.json"):
        refused(stack, "/etc/docker/daemon.json is not valid JSON (line 1", "was not touched")
        assert stacks.inside(lab, 1, "cat /etc/docker/daemon.json") == text
