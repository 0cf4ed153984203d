"""ImagePull against a Docker Engine that pulls as it is told, by the real programs of the nodes."""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import os
import threading
import time
from pathlib import Path

import pytest

from cluster.errors import NodeError, NotPrepared, TrtSparkError
from dynamic_providers.image_pull import ImagePullProvider
from remote import image_pull
from tests.pulls import DIGEST, IMAGE, MB, FakeDocker, Node, layer
from tests.samples import HOST_KEY

CONNECTION = {"host": "spark-1", "user": "nvidia", "port": 22, "hostKey": HOST_KEY, "identity": ""}
PROPS = {"stack": "dgx", "image": IMAGE, "connection": CONNECTION, "missing": ""}
ONE_LAYER = [
    {"id": "1", "status": "Pulling from nvidia/release"},
    layer("aaa", "Pulling fs layer"),
    layer("aaa", "Downloading", 4 * MB, 10 * MB),
]


@pytest.fixture
def docker(tmp_path, monkeypatch):
    with FakeDocker(tmp_path / "docker.sock") as engine:
        monkeypatch.setattr(image_pull, "SOCKET", str(engine.path))
        monkeypatch.setattr(image_pull, "SAY_EVERY_S", 0.0)
        yield engine
        engine.shutdown()


@pytest.fixture
def node(tmp_path, monkeypatch):
    one = Node(tmp_path / "node")
    for name in ("ensure", "missing", "end"):
        monkeypatch.setattr(image_pull, name, _on(one, getattr(image_pull, name)))
    real_args = image_pull._args
    monkeypatch.setattr(image_pull, "_args", lambda props: {**real_args(props), "pauses": [0.05]})
    yield one
    one.kill()


def _on(one, real):
    """`real`, for this node unless it is called with a shell."""

    def call(*args):
        given = "shell" in inspect.signature(real).bind(*args).arguments
        return real(*args) if given else real(*args, shell=lambda _connection: one)

    return call


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_image_that_is_there_costs_one_question(docker, node):
    docker.add()
    outs = ImagePullProvider().create(PROPS).outs
    assert outs["digest"] == DIGEST
    assert (len(node.commands), docker.asked, node.left()) == (1, [], [])
    assert ImagePullProvider().diff("spark-1", outs, PROPS).changes is False


def test_an_image_is_pulled_and_nothing_of_ours_stays(docker, node):
    docker.pulls = [[*ONE_LAYER, 1.8, layer("aaa", "Pull complete")]]
    said = []
    assert image_pull.ensure(PROPS, said.append) == DIGEST
    assert docker.asked == [{"fromImage": "registry.lab:5000/nvidia/release", "tag": "1"}]
    assert any(line.startswith("spark-1: 0.00 GB of 0.01 GB") for line in said)
    assert node.left() == []


def test_a_killed_up_finds_its_pull_again(docker, node):
    go = threading.Event()
    docker.pulls = [[*ONE_LAYER, go, layer("aaa", "Pull complete")]]
    first = threading.Thread(target=lambda: image_pull.jobs.call(*_start(node)))
    first.start()
    first.join()  # the first `up` ended here; nobody watches
    until(lambda: node.status().get("bytes") == 4 * MB)
    pid = node.status()["pid"]
    threading.Timer(0.5, go.set).start()
    assert image_pull.ensure(PROPS, lambda _line: None) == DIGEST
    assert len(docker.asked) == 1
    assert docker.ended == 0
    assert pid


def _start(node):
    args = {**image_pull._args(PROPS), "stall": 60, "limit": 600, "settle": 2}
    args["job"] = hashlib.sha256(IMAGE.encode()).hexdigest()[:16]
    return node, "spark-1", image_pull.MODULES, "start", args, ""


def test_another_image_ends_the_pull_of_the_one_before(docker, node):
    docker.pulls = [[*ONE_LAYER, threading.Event()], [layer("bbb", "Pull complete")]]
    image_pull.jobs.call(*_start(node))
    until(lambda: node.status().get("bytes"))
    other = IMAGE.replace(":1", ":2")
    docker.images[other] = {"RepoDigests": [], "Architecture": "arm64"}
    assert image_pull.ensure({**PROPS, "image": other}, lambda _line: None) == ""
    until(lambda: docker.ended == 1)
    assert node.left() == []


def test_destroy_ends_a_pull_and_leaves_nothing(docker, node):
    docker.pulls = [[*ONE_LAYER, threading.Event()]]
    image_pull.jobs.call(*_start(node))
    until(lambda: node.status().get("bytes"))
    ImagePullProvider().delete("spark-1", PROPS)
    until(lambda: docker.ended == 1)
    assert node.left() == []


def test_a_pull_that_breaks_goes_on(docker, node):
    broken = {"error": "unexpected EOF"}
    docker.pulls = [[*ONE_LAYER, broken], [*ONE_LAYER, layer("aaa", "Pull complete")]]
    assert image_pull.ensure(PROPS, lambda _line: None) == DIGEST
    assert len(docker.asked) == 2


def test_a_pull_that_brings_nothing_is_given_up(docker, node):
    docker.refused = (500, "Get https://registry.lab:5000/v2/: dial tcp 10.0.0.9:5000: connection refused")
    with pytest.raises(NotPrepared, match=r"the pull of .* broke \(Get https.*connection refused\)"):
        image_pull.ensure(PROPS, lambda _line: None)
    assert len(docker.asked) == 3
    assert node.left() == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("unauthorized: authentication required", "docker login registry.lab:5000"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            "Check the name",
        ),
        ("manifest for x:1 not found: manifest unknown: manifest unknown", "its name and its tag"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "build for arm64"),
        ("Get https://x/v2/: x509: certificate signed by unknown authority", "certs.d/registry.lab:5000"),
        ("toomanyrequests: You have reached your pull rate limit", "a login has a limit"),
        ("write /var/lib/docker/tmp/x: no space left on device", "Make room"),
    ],
)
def test_a_refusal_is_told_in_the_registrys_words_and_not_repeated(docker, node, said, told):
    docker.pulls = [[*ONE_LAYER, {"error": said}]]
    with pytest.raises(NotPrepared) as error:
        image_pull.ensure(PROPS, lambda _line: None)
    assert str(error.value).startswith("spark-1: ")
    assert said in str(error.value)
    assert told in str(error.value)
    assert len(docker.asked) == 1
    assert node.left() == []


def test_a_pull_that_stands_still_is_ended(docker, node, monkeypatch):
    monkeypatch.setattr(image_pull, "STALL_S", 0.6)
    docker.pulls = [[layer("aaa", "Pulling fs layer"), 30], [30]]
    with pytest.raises(NotPrepared, match="stands still: nothing arrived for"):
        image_pull.ensure(PROPS, lambda _line: None)


def test_an_image_for_another_machine_is_refused(docker, node):
    docker.platform = "amd64"
    docker.pulls = [[*ONE_LAYER]]
    with pytest.raises(
        NotPrepared, match=r"not for this machine \(it is for amd64, and this machine is arm64\)"
    ):
        image_pull.ensure(PROPS, lambda _line: None)


def test_a_folder_that_somebody_else_laid_out_is_not_used(docker, node, tmp_path):
    trap = node.temporary / f"trtspark-pull-{os.getuid()}-dgx"
    trap.symlink_to(tmp_path)
    with pytest.raises(NodeError, match="not this user's own folder; remove it"):
        image_pull.ensure(PROPS, lambda _line: None)
    assert docker.asked == []


def test_the_disk_must_hold_what_is_not_there_yet(tmp_path, docker, monkeypatch):
    monkeypatch.setattr(image_pull, "SETTLE_S", 0.1)
    big = Node(tmp_path / "big", {"aaa000000000": 10**15, "bbb000000000": 10**15})
    docker.pulls = [
        [
            layer("aaa000000000", "Already exists"),
            layer("bbb000000000", "Pulling fs layer"),
            layer("bbb000000000", "Downloading", 1, 10**15),
            0.3,
            layer("bbb000000000", "Downloading", 2, 10**15),
            threading.Event(),
        ]
    ]
    with pytest.raises(
        NotPrepared, match=r"does not fit: about 2000000\.0 GB are needed under .* GB are free"
    ):
        image_pull.ensure(PROPS, lambda _line: None, lambda _c: big)
    until(lambda: docker.ended == 1)


def test_the_nodes_own_login_goes_to_docker_and_nowhere_else(docker, node):
    settings = node.home / ".docker" / "config.json"
    settings.parent.mkdir()
    secret = base64.b64encode(b"me:canary-1").decode()
    settings.write_text(json.dumps({"auths": {"https://registry.lab:5000/v2/": {"auth": secret}}}))
    go = threading.Event()
    docker.pulls = [[*ONE_LAYER, go]]
    image_pull.jobs.call(*_start(node))
    until(lambda: node.status().get("bytes"))
    sent = json.loads(base64.urlsafe_b64decode(docker.auth[0]))
    assert (sent["username"], sent["password"]) == ("me", "canary-1")
    written = [path.read_text() for path in node.temporary.rglob("*") if path.is_file()]
    lines = Path(f"/proc/{node.status()['pid']}/cmdline").read_text()
    for text in (*written, *node.commands, *node.sent, lines):
        assert "canary" not in text
        assert secret not in text
    go.set()
    until(lambda: not node.left())


def test_a_credential_helper_is_asked(docker, node):
    settings = node.home / ".docker" / "config.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"credHelpers": {"registry.lab:5000": "lab"}}))
    helper = node.home.parent / "bin" / "docker-credential-lab"
    helper.write_text(
        '#!/bin/sh\nread server\necho "{\\"Username\\": \\"$server\\", \\"Secret\\": \\"s\\"}"\n'
    )
    helper.chmod(0o755)
    docker.pulls = [[*ONE_LAYER]]
    image_pull.ensure(PROPS, lambda _line: None)
    sent = json.loads(base64.urlsafe_b64decode(docker.auth[0]))
    assert sent == {"username": "registry.lab:5000", "password": "s", "serveraddress": "registry.lab:5000"}


def test_refresh_finds_a_removed_image_and_the_next_up_pulls_it(docker, node):
    docker.add()
    provider = ImagePullProvider()
    outs = provider.create(PROPS).outs
    assert provider.read("spark-1", outs).inputs["missing"] == ""
    docker.images.clear()
    found = provider.read("spark-1", outs)
    assert found.inputs["missing"] == f"{IMAGE} is not there"
    assert provider.diff("spark-1", found.outs, PROPS).changes is True
    docker.pulls = [[*ONE_LAYER]]
    assert (
        provider.diff("spark-1", provider.update("spark-1", found.outs, PROPS).outs, PROPS).changes is False
    )


@pytest.mark.parametrize(("key", "replaces"), [("image", []), ("stack", ["stack"]), ("connection", ["host"])])
def test_what_is_a_change(key, replaces):
    olds = {**PROPS, "digest": DIGEST}
    news = {**PROPS, key: {**CONNECTION, "host": "other"} if key == "connection" else "other"}
    found = ImagePullProvider().diff("spark-1", olds, news)
    assert (found.changes, found.replaces) == (True, replaces)


def test_a_switch_to_an_image_that_cannot_be_pulled_says_what_runs(docker, node):
    docker.refused = (500, "Get https://registry.lab:5000/v2/: dial tcp 10.0.0.9:5000: connection refused")
    provider = ImagePullProvider()
    with pytest.raises(TrtSparkError) as error:
        provider.update("spark-1", {**PROPS, "image": "registry.lab:5000/x:old"}, PROPS)
    assert str(error.value).startswith("spark-1: the pull of ")
    assert str(error.value).endswith(" The server was not touched: what ran before still runs.")
    assert str(error.value).count("connection refused") == 1
    with pytest.raises(NotPrepared) as first:
        provider.create(PROPS)  # a first deployment: nothing ran before
    assert "what ran before" not in str(first.value)
