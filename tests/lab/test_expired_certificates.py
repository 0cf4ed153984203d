"""Sparks that were off for longer than their Swarm certificates lived: what is repaired, what is told.

Months are made by giving both nodes certificates that ran out yesterday, from a CA that the Swarm was told
to use.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import NodeError
from dynamic_providers.swarm import SwarmProvider
from lab.engines import DOCKER
from lab.state import Lab
from remote import engine, gpu_runtime, swarm
from remote.ssh import Connection
from tests.lab.sparks import Spark, fresh, sparks_of

pytestmark = [pytest.mark.lab, pytest.mark.long]
NAME = "t-expired"
CA = """
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
openssl req -x509 -new -key key.pem -subj /CN=swarm-ca -days 3650 -out ca.pem \
  -addext keyUsage=critical,keyCertSign,cRLSign
"""
EXPIRE = """
set -eu
systemctl stop docker
cd /var/lib/docker/swarm/certificates
openssl x509 -in swarm-node.crt -noout -pubkey >/root/node.pub
subject=$(openssl x509 -in swarm-node.crt -noout -subject -nameopt multiline)
field() { printf '%s\\n' "$subject" | sed -n "s/^ *$1 *= //p"; }
role=$(field organizationalUnitName) name=$(field commonName) cluster=$(field organizationName)
cat >/root/extensions <<TEXT
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:$role,DNS:$name,DNS:swarm-ca
TEXT
openssl x509 -new -force_pubkey /root/node.pub -subj "/O=$cluster/OU=$role/CN=$name" -days -1 \
  -CA /root/ca.pem -CAkey /root/key.pem -extfile /root/extensions -out swarm-node.crt
systemctl reset-failed docker
systemctl start docker
"""


@pytest.fixture(scope="module", params=["", DOCKER], ids=["docker-20.10", "docker-29"])
def sparks(request: pytest.FixtureRequest) -> Iterator[list[Spark]]:
    words = ["--docker", request.param] if request.param else []
    with fresh(NAME, "--nodes", "2", "--variant=sudo-nopasswd", "--variant=docker-group", *words):
        yield sparks_of(NAME)
    # The next pair has the same addresses, and these clients lead to machines that are gone.
    engine._clients.clear()


def props(sparks: list[Spark]) -> dict[str, Any]:
    there = json.loads(Lab(NAME).description.read_text())
    nodes = []
    for spark, one in zip(sparks, there["nodes"], strict=True):
        login = Connection(one["host"], one["user"], one["port"], one["host_key"], there["identity"])
        gpu = spark.run("nvidia-smi --query-gpu=uuid --format=csv,noheader")
        named = {"name": one["host"], "address": one["host"], "gpu": gpu, "connection": login.as_props()}
        nodes.append(named)
    return {"stack": "months", "nodes": nodes}


def state(spark: Spark) -> tuple[str, str]:
    found = json.loads(spark.run("docker info --format '{{json .Swarm}}'"))
    return found["LocalNodeState"], found.get("Error", "")


@contextmanager
def made_by_others(wanted: dict[str, Any]) -> Iterator[None]:
    """Without our ledger, which a Swarm of somebody else does not have."""
    client = swarm.dial(wanted["nodes"][0])

    def relabel(labels: dict[str, str]) -> dict[str, str]:
        found = client.inspect_swarm()
        client.update_swarm(found["Version"]["Index"], swarm_spec={**found["Spec"], "Labels": labels})
        before: dict[str, str] = found["Spec"]["Labels"]
        return before

    labels = relabel({})
    try:
        yield
    finally:
        relabel(labels)


def test_a_worker_of_ours_joins_again_and_all_else_is_told(sparks: list[Spark], tmp_path: Path):
    wanted = props(sparks)
    for node in wanted["nodes"]:
        gpu_runtime.prepare({**node, "group": False, "stack": wanted["stack"], "takeOver": ""})
    made = swarm.ensure(wanted, {})
    head, worker = sparks
    subprocess.run(["bash", "-euc", CA], cwd=tmp_path, check=True, capture_output=True)
    for spark in sparks:
        for name in ("ca.pem", "key.pem"):
            spark.root(f"cat >/root/{name} <<'PEM'\n{(tmp_path / name).read_text()}PEM")
    head.root("docker swarm ca --rotate --quiet --ca-cert /root/ca.pem --ca-key /root/key.pem")

    worker.root(EXPIRE)
    assert state(worker)[0] == "error"
    assert "certificate has expired" in state(worker)[1]
    with made_by_others(wanted), pytest.raises(NodeError, match="docker swarm leave --force"):
        swarm.ensure(wanted, {**made, "joined": []})
    assert state(worker)[0] == "error", "it was left alone"
    again = swarm.ensure(wanted, made)
    assert swarm.present(again) == {node["name"] for node in wanted["nodes"]}
    assert [state(spark) for spark in sparks] == [("active", "")] * 2
    assert len(head.run("docker node ls --quiet").split()) == 2, "the worker's old entry is gone"

    head.root(EXPIRE)
    with pytest.raises(NodeError, match="pulumi up --refresh"):
        swarm.ensure(wanted, again)
    # Should this work one day, the way out is a better one.
    address = wanted["nodes"][0]["address"]
    forced = head.ssh(f"docker swarm init --force-new-cluster --advertise-addr {address}")
    assert "not a swarm manager" in forced.stderr

    for spark in sparks:
        spark.run("docker swarm leave --force")
    anew = swarm.ensure(wanted, again)
    assert swarm.present(anew) == {node["name"] for node in wanted["nodes"]}
    SwarmProvider().delete("months", anew)
    assert [state(spark)[0] for spark in sparks] == ["inactive"] * 2
