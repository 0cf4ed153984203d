"""The gate names the rank, the warning and the cause, from whole recordings of a real NCCL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import NotReady
from cluster.service_spec import SPEC_LABEL
from remote import readiness
from tests import samples

RECORDED = Path(__file__).parents[1] / "fixtures" / "nccl-2.28.9"


class Manager:
    """Swarm with one task of rank 0, whose container prints a recording."""

    def __init__(self, name: str) -> None:
        self.text = (RECORDED / f"{name}.txt").read_bytes()

    def tasks(self, filters: Any) -> list[dict[str, Any]]:
        del filters
        status = {"State": "running", "ContainerStatus": {"ContainerID": "c0"}}
        spec = {"ContainerSpec": {"Labels": {SPEC_LABEL: "f"}}}
        return [{"ID": "t", "CreatedAt": "1", "DesiredState": "running", "Status": status, "Spec": spec}]

    def logs(self, container: str, tail: int) -> bytes:
        del container
        return b"\n".join(self.text.splitlines()[-tail:])


@pytest.mark.parametrize(
    ("name", "said", "means"),
    [
        (
            "ib-asked-for-without-devices",
            "Failed to initialize any NET plugin",
            "no device of that name is active in the container",
        ),
        (
            "interface-that-is-not-there",
            "Bootstrap : no socket interface found",
            "the interface in NCCL_SOCKET_IFNAME is not in the container",
        ),
    ],
)
def test_a_recorded_failure_ends_the_wait_and_is_explained(monkeypatch, name, said, means):
    monkeypatch.setattr(readiness, "connect", lambda _connection: Manager(name))
    network = [
        {
            "rank": n,
            "node": f"10.24.11.{11 + n}",
            "hostname": host,
            "addresses": [],
            "hcas": [],
            "toolkit": "1.18",
        }
        for n, host in enumerate(("other", "vm"))
    ]
    props = {
        "manager": samples.connections(1)[0].as_props(),
        "service": "trtspark-lab-rank-0",
        "fingerprint": "f",
        "model": "lab/any",
        "url": "http://127.0.0.1:9",
        "timeout": 60.0,
        "network": network,
    }
    with pytest.raises(NotReady) as error:
        readiness.gate(props, lambda _text: None)
    text = str(error.value)
    # Both processes of the recording ran on `vm`, which is rank 1's machine here.
    assert f"Cause: rank 1 (10.24.11.12): NCCL said: {said!r}. Likely cause: {means}; " in text
