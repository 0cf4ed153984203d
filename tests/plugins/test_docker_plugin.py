"""The docker stand-in's resources against an Engine on a unix socket."""

import base64
import tarfile
import time
from io import BytesIO

import pytest
from pulumi.runtime.proto import provider_pb2

from plugins.docker import limits
from plugins.docker.api import Engine
from plugins.docker.connection import HostError, connection
from plugins.docker.limits import Limited
from plugins.docker.names import ImageName, parsed, repo_digest
from plugins.docker.provider import DockerProvider
from plugins.docker.registry_auth import credentials
from plugins.docker.remote_image import RemoteImage
from plugins.docker.swarm_object import SwarmObject
from plugins.enginelog import EngineLog
from plugins.provider import Call, OperationError
from plugins.wire import UNKNOWN, Secret
from tests.plugins.fake_engine import FakeEngine, decoded_auth

NAME = "10.0.0.1:5000/nvidia/engine:1.3"
CALL = Call("urn:pulumi:dev::p::docker:index/x:X::thing", EngineLog(""))
PREVIEW = Call(CALL.urn, CALL.engine_log, preview=True)
DATA = base64.b64encode(b"a: 1\n").decode()


@pytest.fixture
def docker(tmp_path):
    with FakeEngine(tmp_path / "docker.sock") as engine:
        yield engine
        engine.shutdown()


@pytest.fixture
def engine(docker):
    client = Engine(docker.host, [])
    yield client
    client.close()


@pytest.fixture
def image(engine):
    return RemoteImage(lambda: engine, lambda: {"10.0.0.1:5000": {"username": "u"}})


@pytest.fixture
def config(engine):
    return SwarmObject(lambda: engine, "/configs", ("data", "dataRaw"), secret=False)


@pytest.fixture
def secret(engine):
    return SwarmObject(lambda: engine, "/secrets", ("data",), secret=True)


def test_an_image_is_pulled_once(docker, image):
    docker.registry[NAME] = "sha256:1"
    id_, state = image.create(CALL, {"name": NAME, "platform": "linux/arm64"})
    assert id_ == "sha256:1" + NAME
    assert state["imageId"] == "sha256:1"
    assert state["repoDigest"] == "10.0.0.1:5000/nvidia/engine@sha256:sha256:1d"
    pull = docker.calls.index("POST /images/create")
    assert decoded_auth(docker.headers[pull]) == {"username": "u"}
    image.create(CALL, {"name": NAME})
    assert docker.calls.count("POST /images/create") == 1
    assert docker.calls.count("HEAD /_ping") == 1


def test_a_missing_image_is_an_error_of_the_vendors_shape(image):
    with pytest.raises(OperationError) as error:
        image.create(CALL, {"name": NAME})
    assert str(error.value) == (
        f"Unable to read Docker image into resource: unable to pull image {NAME}: error pulling "
        f"image {NAME}: Error response from daemon: manifest for {NAME} not found"
    )


def test_a_pull_that_breaks_half_way_gives_no_reason_as_the_vendors(docker, image):
    docker.registry[NAME] = "sha256:1"
    docker.broken = "unexpected EOF"
    with pytest.raises(OperationError) as error:
        image.create(CALL, {"name": NAME})
    assert str(error.value) == (
        f"Unable to read Docker image into resource: unable to find or pull image {NAME}"
    )


def test_a_pull_ends_at_the_default_limit(docker, image, engine, monkeypatch):
    assert limits.DEFAULT_SECONDS == 1200
    monkeypatch.setattr(limits, "DEFAULT_SECONDS", 0.3)
    docker.registry[NAME] = "sha256:1"
    docker.delay = 20
    started = time.monotonic()
    with pytest.raises(OperationError) as error:
        Limited(image, lambda: engine).create(CALL, {"name": NAME})
    assert time.monotonic() - started < 5
    assert str(error.value) == (
        f"Unable to read Docker image into resource: unable to pull image {NAME}: context deadline exceeded"
    )


def test_the_programs_own_limit_counts_instead(docker, image, engine, monkeypatch):
    monkeypatch.setattr(limits, "DEFAULT_SECONDS", 0.1)
    docker.registry[NAME] = "sha256:1"
    docker.delay = 0.5
    call = Call(CALL.urn, CALL.engine_log, timeout=30)
    with pytest.raises(OperationError, match="unable to find or pull"):  # it ended without an image
        Limited(image, lambda: engine).create(call, {"name": NAME})


def test_the_engines_limits_reach_the_resource(monkeypatch):
    seen = []
    provider = DockerProvider("")
    monkeypatch.setattr(provider, "_resource", lambda *_: Remembers(seen))
    urn = "urn:pulumi:dev::p::docker:index/remoteImage:RemoteImage::thing"
    provider.Create(provider_pb2.CreateRequest(urn=urn, timeout=86400), None)
    provider.Update(provider_pb2.UpdateRequest(urn=urn, timeout=60), None)
    provider.Delete(provider_pb2.DeleteRequest(urn=urn, timeout=5), None)
    assert seen == [86400, 60, 5]


class Remembers:
    """A resource that notes how long each operation may take."""

    def __init__(self, seen):
        self.seen = seen

    def create(self, call, _inputs):
        self.seen.append(call.timeout)
        return "id", {}

    def update(self, call, *_):
        self.seen.append(call.timeout)
        return {}

    def delete(self, call, *_):
        self.seen.append(call.timeout)


def test_a_preview_contacts_nobody(docker, image, config):
    _, state = image.create(PREVIEW, {"name": NAME})
    assert state == {"name": NAME, "imageId": UNKNOWN, "repoDigest": UNKNOWN}
    assert config.create(PREVIEW, {"name": "c", "data": DATA}) == ("", {"name": "c", "data": DATA})
    assert docker.calls == []


def test_refresh_finds_a_removed_image(docker, image):
    docker.add_image(NAME, "sha256:1", "x@sha256:9")
    state = {"name": NAME, "imageId": "sha256:0", "repoDigest": ""}
    id_, inputs, found = image.read(CALL, "old", {"name": NAME}, state)
    assert (id_, inputs) == ("sha256:1" + NAME, {"name": NAME})
    assert found == {"name": NAME, "imageId": "sha256:1", "repoDigest": "x@sha256:9"}
    docker.images.clear()
    assert image.read(CALL, "old", {"name": NAME}, state) is None


def test_delete_removes_the_image_unless_it_is_to_be_kept(docker, image):
    docker.add_image(NAME, "sha256:1")
    image.delete(CALL, "id", {"name": NAME, "keepLocally": True})
    assert NAME in docker.images
    image.delete(CALL, "id", {"name": NAME})
    assert docker.images == {}
    image.delete(CALL, "id", {"name": NAME})  # gone already


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"name": "other"}, {"name"}),
        ({"platform": "linux/arm64"}, {"platform"}),
        ({"pullTriggers": ["a", "c"]}, {"pullTriggers[1]"}),
        ({"pullTriggers": ["b", "a"]}, set()),
        ({"triggers": {"k": "2"}}, {"triggers.k"}),
        ({"keepLocally": True}, set()),
        ({"forceRemove": True}, set()),
    ],
)
def test_what_replaces_an_image(image, change, replaces):
    old = {"name": NAME, "pullTriggers": ["a", "b"], "triggers": {"k": "1"}}
    difference = image.diff(old, {}, {**old, **change})
    assert difference.replaces == replaces
    assert not difference.delete_before_replace


def test_an_image_is_built_from_a_folder(docker, image, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    build = {"context": str(context), "buildArgs": {"A": "1"}, "tags": ["thin:2"]}
    _, state = image.create(CALL, {"name": "thin", "build": build})
    query, body = docker.builds[0]
    assert query["t"] == ["thin", "thin:2"]
    assert query["buildargs"] == ['{"A": "1"}']
    assert query["rm"] == ["1"]
    with tarfile.open(fileobj=BytesIO(body)) as context_sent:
        assert "./Dockerfile" in context_sent.getnames()
    assert state["imageId"] == "sha256:built"


def test_build_settings_that_only_the_vendor_knows_are_refused(image):
    _, failures = image.check("thing", {}, {"name": "x", "build": {"context": ".", "sbom": "true"}})
    assert [failure.property for failure in failures] == ["build.sbom"]


def test_a_config_lives(docker, config):
    labels = [{"label": "b", "value": "2"}, {"label": "a", "value": "1"}]
    inputs, failures = config.check("thing", {}, {"name": "c", "data": DATA, "labels": labels})
    assert failures == []
    id_, state = config.create(CALL, inputs)
    spec = docker.objects[f"/configs/{id_}"]["Spec"]
    assert spec == {"Name": "c", "Data": DATA, "Labels": {"a": "1", "b": "2"}}
    assert config.diff(inputs, state, {**inputs, "labels": labels[::-1]}).changes == {}
    config.delete(CALL, id_, state)
    assert config.read(CALL, id_, inputs, state) is None
    with pytest.raises(OperationError, match=r"Error response from daemon: .* not found"):
        config.delete(CALL, id_, state)


def test_raw_content_is_read_back_raw(config):
    id_, state = config.create(CALL, {"name": "c", "dataRaw": "a: 1\n"})
    assert config.read(CALL, id_, {"dataRaw": "a: 1\n"}, state)[2] == state


def test_names_are_made_once_and_decide_what_goes_first(config):
    made, _ = config.check("thing", {}, {"data": DATA})
    assert made["name"].startswith("thing-")
    assert len(made["name"]) == len("thing-") + 7
    again, _ = config.check("thing", made, {"data": DATA})
    assert again == made
    other = {**made, "data": base64.b64encode(b"b").decode()}
    assert config.diff(made, {}, other).replaces == {"data"}
    assert not config.diff(made, {}, other).delete_before_replace
    named, _ = config.check("thing", {}, {"name": "c", "data": DATA})
    assert config.diff(named, {}, {**named, "name": "d"}).delete_before_replace


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "exactly one of `data,dataRaw` must be specified"),
        ({"data": DATA, "dataRaw": "x"}, "exactly one of `data,dataRaw` must be specified"),
        ({"data": "not base64!"}, "'not base64!' is not base64 decodeable"),
    ],
)
def test_what_a_config_cannot_be(config, inputs, reason):
    assert [failure.reason for failure in config.check("thing", {}, inputs)[1]] == [reason]


def test_a_secret_stays_one(docker, secret):
    inputs, failures = secret.check("thing", {}, {"name": "s", "data": DATA})
    assert failures == []
    assert inputs["data"] == Secret(DATA)
    assert DATA not in repr(inputs)
    id_, state = secret.create(CALL, inputs)
    assert docker.objects[f"/secrets/{id_}"]["Spec"]["Data"] == DATA
    assert secret.read(CALL, id_, inputs, state)[2]["data"] == Secret(DATA)
    wrong = secret.check("thing", {}, {"data": Secret("clear text!")})[1]
    assert "clear text!" not in wrong[0].reason


def test_a_machine_that_is_in_no_swarm(docker, config):
    docker.in_swarm = False
    with pytest.raises(OperationError, match="not a swarm manager"):
        config.create(CALL, {"name": "c", "data": DATA})


def test_the_engine_may_start_anew_between_operations(docker, engine, image):
    docker.add_image(NAME, "sha256:1")
    image.create(CALL, {"name": NAME})
    engine._idle[0].sock.shutdown(2)
    assert image.create(CALL, {"name": NAME})[1]["imageId"] == "sha256:1"


def test_nobody_answers(tmp_path):
    engine = Engine(f"unix://{tmp_path}/none.sock", [])
    with pytest.raises(OperationError, match="Error pinging Docker server, please make sure that"):
        engine.get("/version")


def test_ssh_is_called_as_the_docker_client_calls_it():
    link = connection("ssh://nvidia@10.0.0.2:2222", ["-o", "UserKnownHostsFile=/x"])
    # docker/cli 28.5.2: cli/connhelper/ssh/ssh.go puts user and port first, connhelper.go one word last.
    start, end = "-l nvidia -p 2222 -o UserKnownHostsFile=/x", "-T -- 10.0.0.2"
    timeout = "-o ConnectTimeout=30"
    assert link._argv == ["ssh", *start.split(), timeout, *end.split(), "docker system dial-stdio"]
    link.end()
    other = connection("ssh://spark/run/d.sock", ["-oConnectTimeout=3"])
    assert other._argv[-1] == "docker --host=unix:///run/d.sock system dial-stdio"
    assert "-o ConnectTimeout=30" not in other._argv
    other.end()
    with pytest.raises(HostError):
        connection("npipe:////./pipe/docker_engine", [])


def test_ssh_that_fails_says_why(tmp_path, monkeypatch):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperationError) as error:
        Engine("ssh://nvidia@spark", []).get("/version")
    text = str(error.value)
    assert "please make sure that ssh://nvidia@spark is reachable" in text
    assert "exit status 255" in text
    assert "stderr=Permission denied (publickey)." in text


def test_the_providers_settings_come_as_text():
    provider = DockerProvider("")
    provider.configured({"host": "ssh://a@b", "sshOpts": '["-o", "X=y"]'})
    assert provider._docker()._ssh_opts == ["-o", "X=y"]
    assert provider._docker() is provider._docker()
    assert provider.check_config({"certPath": "/x"})[0].property == "certPath"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox", ImageName("registry-1.docker.io", "busybox", "latest")),
        ("nvidia/cuda:12", ImageName("registry-1.docker.io", "nvidia/cuda", "12")),
        ("nvcr.io/nvidia/x:1", ImageName("nvcr.io", "nvcr.io/nvidia/x", "1")),
        ("localhost/x", ImageName("localhost", "localhost/x", "latest")),
        (NAME, ImageName("10.0.0.1:5000", "10.0.0.1:5000/nvidia/engine", "1.3")),
        ("a.b/x:1@sha256:cd", ImageName("a.b", "a.b/x", "sha256:cd")),
    ],
)
def test_image_names(name, expected):
    assert parsed(name) == expected


def test_the_digest_of_the_registry_that_was_named():
    digests = ["127.0.0.1:5000/x@sha256:1", "nginx@sha256:2"]
    assert repo_digest("nginx:1.19", digests) == "nginx@sha256:2"
    assert repo_digest("other", digests) == digests[0]
    assert repo_digest("other", []) == ""


def test_registry_credentials(tmp_path, monkeypatch):
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    found = credentials([{"address": "https://10.0.0.1:5000", "username": "u", "password": "p"}])
    assert found == {
        "10.0.0.1:5000": {
            "serveraddress": "https://10.0.0.1:5000",
            "username": "u",
            "password": "p",
        }
    }
    auth = base64.b64encode(b"me:pw").decode()
    (tmp_path / "config.json").write_text(f'{{"auths": {{"nvcr.io": {{"auth": "{auth}"}}}}}}')
    found = credentials([{"address": "nvcr.io", "configFile": str(tmp_path)}])
    assert found["nvcr.io"]["password"] == "pw"
    with pytest.raises(OperationError, match="could not open config file"):
        credentials([{"address": "nvcr.io", "configFile": str(tmp_path / "none")}])


def test_what_an_unreachable_docker_is_told_by(tmp_path, monkeypatch):
    """The texts of docker/docker 28.5.2, client/request.go, and of docker/cli's commandconn.go."""
    (tmp_path / "ssh").write_text(
        "#!/bin/sh\necho 'ssh: connect to host spark port 22: No route' >&2\nexit 255\n"
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OperationError) as by_ssh:
        Engine("ssh://nvidia@spark", ["-o", "X=y"]).get("/images/x/json")
    command = "ssh -l nvidia -o X=y -o ConnectTimeout=30 -T -- spark docker system dial-stdio"
    assert str(by_ssh.value) == (
        "failed to create Docker client: Error pinging Docker server, please make sure that "
        "ssh://nvidia@spark is reachable and has a  '_ping' endpoint. Error: error during connect: "
        f'Head "http://docker.example.com/_ping": command [{command}] has exited with exit status 255, '
        "make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: "
        "stderr=ssh: connect to host spark port 22: No route"
    )
    with pytest.raises(
        OperationError, match=r"Cannot connect to the Docker daemon at unix:///nobody/d.sock\. Is"
    ):
        Engine("unix:///nobody/d.sock", []).get("/images/x/json")
