"""The docker plugin by the engine, against an Engine on a unix socket."""

import pytest

from tests.plugins.fake_engine import FakeEngine

pytestmark = [pytest.mark.lab, pytest.mark.long]

PROGRAM = """
import json
import pulumi
import pulumi_docker as docker

case = json.load(open("case.json"))
options = {"ssh_opts": ["-o", "BatchMode=yes"]} if case["host"].startswith("ssh") else {}
provider = docker.Provider("docker", host=case["host"], **options)
opts = pulumi.ResourceOptions(provider=provider, delete_before_replace=case.get("before"))
image = docker.RemoteImage("image", name="10.0.0.1:5000/engine:1", keep_locally=True, opts=opts)
docker.ServiceConfig("config", name=case["name"], data_raw="a: 1", opts=opts)
docker.Secret("secret", data=case["secret"], opts=opts)
pulumi.export("image", image.repo_digest)
"""
CONTENT = "c2VjcmV0IGNvbnRlbnQ="


@pytest.fixture
def docker(tmp_path):
    with FakeEngine(tmp_path / "docker.sock") as engine:
        engine.registry["10.0.0.1:5000/engine:1"] = "sha256:1"
        yield engine
        engine.shutdown()


def test_a_life(project, docker):
    project.program(PROGRAM)
    case = {"host": docker.host, "name": "config-1", "secret": CONTENT}
    assert "5 to create" in project.pulumi("preview", case=case).stdout
    assert docker.calls == []

    first = project.up(case)
    assert first.returncode == 0, first.stdout
    assert project.outputs() == {"image": "10.0.0.1:5000/engine@sha256:sha256:1d"}
    assert CONTENT not in project.state()

    docker.calls.clear()
    assert "5 unchanged" in project.up(case).stdout
    assert docker.calls == []

    docker.images.clear()
    assert "1 deleted" in project.pulumi("refresh", "--yes", case=case).stdout
    assert "1 created" in project.up(case).stdout

    assert project.pulumi("destroy", "--yes", "--skip-preview", case=case).returncode == 0
    assert docker.objects == {}
    assert list(docker.images) == ["10.0.0.1:5000/engine:1"]


@pytest.mark.parametrize(("before", "order"), [(None, ["DELETE", "POST"]), (False, ["POST", "DELETE"])])
def test_what_comes_first_when_a_named_config_is_replaced(project, docker, before, order):
    project.program(PROGRAM)
    case = {"host": docker.host, "name": "config-1", "secret": CONTENT, "before": before}
    project.up(case)
    docker.calls.clear()
    project.up({**case, "name": "config-2"})
    calls = [call.split()[0] for call in docker.calls if "/configs" in call]
    assert [method for method in calls if method != "GET"] == order


def test_a_host_that_cannot_be_reached(project):
    project.program(PROGRAM)
    case = {"host": "ssh://nobody@no-such-host.invalid", "name": "c", "secret": CONTENT}
    assert project.pulumi("preview", case=case).returncode == 0
    failed = project.up(case)
    assert "Error pinging Docker server" in failed.stdout
    assert "ssh://nobody@no-such-host.invalid" in failed.stdout
