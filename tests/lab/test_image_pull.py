"""The serving image over a slow line: shown, resumed after a killed `up`, and refused with reasons."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from cluster.errors import NotPrepared
from remote import image_pull
from remote.ssh import Connection
from tests.lab import stack as stacks
from tests.lab.slow_registry import SlowRegistry

pytestmark = [pytest.mark.lab, pytest.mark.long]
STATUS = "cat /tmp/trtspark-pull-*-lab/status.json 2>/dev/null || echo '{}'"


@pytest.fixture(scope="module")
def registry(lab):
    with SlowRegistry(lab["image"].partition("/")[0], 3e6) as slow:
        for node in range(2):
            stacks.inside(lab, node, "docker image prune --all --force >/dev/null")
        before = stacks.leavings(lab)
        slow.trust(lab)
        try:
            yield slow
        finally:
            slow.forget(lab)
            slow.shutdown()
        stacks.same(lab, before)


@pytest.fixture(scope="module")
def stack(lab, registry, tmp_path_factory):
    one = stacks.create(tmp_path_factory.mktemp("pull") / "project", lab)
    one.set("image", f"{registry.name}/{lab['image'].partition('/')[2]}")
    yield one
    one.pulumi("destroy", "--yes", "--skip-preview", ok=False)


def status(lab, node: int) -> dict:
    return json.loads(stacks.inside(lab, node, STATUS))


def test_a_killed_up_finds_the_pulls_running(stack, lab, registry):
    up = stack.start("up", "--yes", "--skip-preview")
    try:
        stacks.until(
            lambda: all(status(lab, n).get("bytes", 0) > 0 for n in range(2)), 120, "the pulls to begin"
        )
    finally:
        os.killpg(up.pid, signal.SIGKILL)
        up.wait()
    stack.pulumi("cancel", "--yes")
    before = [status(lab, node) for node in range(2)]
    assert all(one["size"] > one["bytes"] for one in before), before
    time.sleep(3)
    after = [status(lab, node) for node in range(2)]
    for old, new in zip(before, after, strict=True):
        assert new["pid"] == old["pid"]
        assert new["bytes"] > old["bytes"]  # nobody watches, and it goes on
    sent = registry.sent
    watching = stack.start_shown("up", "--yes", "--skip-preview")
    time.sleep(15)
    assert [status(lab, n).get("pid") for n in range(2)] == [one["pid"] for one in before]
    registry.rate = 1e9
    text, _ = watching.communicate(timeout=200)
    assert watching.returncode == 0, text
    for node in lab["nodes"]:
        assert re.search(rf"{node['host']}: \d+\.\d+ GB of \d+\.\d+ GB, .* left", text), text
    whole = sum(one["size"] for one in before)
    assert sent > 0
    assert registry.sent < 1.2 * whole  # nothing came twice


def test_up_again_does_nothing(stack, registry):
    sent = registry.sent
    run = stack.up()
    assert set(run.counts) == {"unchanged"}, run.text
    assert registry.sent - sent < 1e6


def test_an_image_that_was_removed_is_pulled_again(stack, lab, registry):
    image = stack.get("image")
    stacks.inside(
        lab, 1, f"docker service rm $(docker service ls -q) 2>/dev/null; docker image rm -f {image}"
    )
    run = stack.up()
    assert re.search(r"ImagePull trtllm-pull-1 updated", run.text), run.text
    assert stacks.inside(lab, 1, f"docker image inspect -f ok {image}").strip() == "ok"


def test_a_refresh_with_a_worker_off_says_it_in_our_words(stack, lab):
    name, host = lab["nodes"][1]["name"], lab["nodes"][1]["host"]
    stacks.lab_command(lab, "power", "off", name)
    try:
        run = stack.pulumi("refresh", "--yes", "--skip-preview", ok=False)
        checked = stack.pulumi("refresh", "--run-program", "--yes", "--skip-preview", ok=False)
    finally:
        stacks.lab_command(lab, "power", "on", name)
    assert checked.code != 0
    # Preflight comes first there, and nothing else is asked.
    assert len(re.findall(rf"(?m)^    error: .*{host}", checked.text)) == 1, checked.text
    assert "refreshing failed" not in checked.text, checked.text
    assert run.code != 0
    assert "dial-stdio" not in run.text, run.text
    assert re.search(rf"{host}.*does not answer|{host}.*no route", run.text), run.text


def test_destroy_leaves_the_image_and_nothing_of_ours(stack, lab):
    image = stack.get("image")
    stack.destroy()
    for node in range(2):
        assert stacks.inside(lab, node, f"docker image inspect -f ok {image}").strip() == "ok"


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("{registry}/none:1", r"has no .*none:1 \(.*(not found|manifest unknown)"),
        ("{registry}/{path}-none", r"has no .* \(.*(not found|manifest unknown)"),
        ("{untrusted}/{path}", r"does not trust the certificate of .* \(.*(tls|x509): "),
        ("{host}:1/{path}", r"the pull of .* broke \(.*connection refused"),
    ],
)
def test_what_docker_says_of_a_pull_that_cannot_be(lab, registry, monkeypatch, image, told):
    """Docker's own texts, of the version that the lab has."""
    real = image_pull._args
    monkeypatch.setattr(image_pull, "_args", lambda props: {**real(props), "pauses": [0.1]})
    server, _, path = lab["image"].partition("/")
    host = server.partition(":")[0]
    with SlowRegistry(server, 1e9) as untrusted:
        try:
            name = image.format(registry=server, path=path, untrusted=untrusted.name, host=host)
            node = lab["nodes"][0]
            known = Path(lab["known_hosts"]).read_text().splitlines()
            [key] = [line.partition(" ")[2] for line in known if line.split()[0] == node["host"]][:1]
            connection = Connection(node["host"], node["user"], 22, key, lab["identity"])
            props = {"stack": "texts", "image": name, "connection": connection.as_props()}
            with pytest.raises(NotPrepared, match=told):
                image_pull.ensure(props, lambda _line: None)
        finally:
            untrusted.shutdown()
