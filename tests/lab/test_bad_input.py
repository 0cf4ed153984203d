"""What bad input gets: one clear error, at preview, with nothing touched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import stack as stacks

pytestmark = pytest.mark.lab


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
    stack.set("model", "openai/gpt-oss-20")
    refused(stack, "model openai/gpt-oss-20 is not in", "Did you mean openai/gpt-oss-20b")


def test_model_that_is_not_whole(stack):
    stack.set("model", "lab/missing-shard")
    refused(stack, "lab/missing-shard is not whole", "is missing")


def test_port_in_use(stack, lab):
    start = "nohup python3 -m http.server 8355 >/dev/null 2>&1 & sleep 0.5"
    with broken(lab, 0, start, "pkill -f 'http.server 8355'"):
        refused(stack, "port 8355 is in use by another program", "pulumi config set port 8356")


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
