"""Running the all-reduce of cluster/nccl_test.py: one container of the serving image on each node."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from cluster import least_privilege, nccl_test
from cluster.errors import TrtSparkError
from cluster.rail_report import Nccl
from cluster.swarm_plan import RANK_LABEL
from remote.engine import connect
from remote.ssh import Connection

LABEL = "trtspark.test"
MARK = {LABEL: "nccl"}
MOST_LOG_LINES = 200
STOP_IT = (
    ", which holds the GPU's memory. Stop it (`pulumi config set running false`, `pulumi up`), then run "
    "`trtspark doctor --full`."
)
NO_RDMA = "the ranks share no RDMA fabric. `trtspark doctor` says what it lacks."


def measure(
    plan: Mapping[str, Any], image: str, connections: Sequence[Connection], client_of: Any = connect
) -> Nccl:
    """Run it where it can be run: the image is on every node, and no rank holds a GPU's memory."""
    if not plan:
        return Nccl(None, NO_RDMA)
    try:
        clients = [client_of(one) for one in connections]
        for client in clients:
            sweep(client)
        for connection, client in zip(connections, clients, strict=True):
            if client.containers(filters={"label": RANK_LABEL}):
                return Nccl(None, f"the server runs on {connection.host}{STOP_IT}", busy=True)
            if why := _obstacle(client, image, connection.host):
                return Nccl(None, why)
        return _run(clients, image, plan)
    except (TrtSparkError, DockerException, requests.RequestException) as error:
        text = str(getattr(error, "explanation", None) or error).strip()
        return Nccl(None, said=(text.splitlines() or [type(error).__name__])[-1][:200].rstrip("."))


def sweep(client: Any) -> None:
    """Remove what an interrupted run left: containers that have ended, or are past their deadline."""
    for one in client.containers(all=True, filters={"label": f"{LABEL}={MARK[LABEL]}"}):
        old = time.time() - float(one.get("Created") or 0) > nccl_test.DEADLINE_S
        if old or one.get("State") not in ("running", "created"):
            _remove(client, str(one["Id"]))


def _obstacle(client: Any, image: str, host: str) -> str:
    """Why it is not run on this node; "" when it can be."""
    try:
        client.inspect_image(image)
    except ImageNotFound:
        return f"the image {image} is not on {host} yet. `pulumi up` pulls it."
    if "nvidia" not in (client.info().get("Runtimes") or {}):
        return f"Docker on {host} has no nvidia runtime yet. `pulumi up` prepares it."
    return ""


def _run(clients: Sequence[Any], image: str, plan: Mapping[str, Any]) -> Nccl:
    made: list[tuple[Any, str]] = []
    pool = ThreadPoolExecutor(len(clients))
    try:
        for client, environment in zip(clients, plan["environments"], strict=True):
            made.append((client, _create(client, image, environment, plan["restricted"])))
        for client, name in made:
            client.start(name)
        deadline = time.monotonic() + nccl_test.DEADLINE_S
        return nccl_test.result(list(pool.map(lambda one: _output(one[0], one[1], deadline), made)))
    finally:
        # Before the threads are waited for: after Ctrl-C they wait for these containers.
        for client, name in made:
            _remove(client, name)
        pool.shutdown()


def _create(client: Any, image: str, environment: Mapping[str, str], restricted: bool) -> str:
    script = resources.files("remote").joinpath("nccl_all_reduce.py").read_text(encoding="utf-8")
    made = client.create_container(
        image,
        # bash, because part of the image's environment is set in its start-up file.
        entrypoint=["bash", "-c", 'exec python3 -c "$0"'],
        command=[script],
        environment=dict(environment),
        labels=MARK,
        host_config=client.create_host_config(
            runtime="nvidia",
            network_mode="host",
            init=True,
            ulimits=[{"Name": "memlock", "Soft": -1, "Hard": -1}],
            cap_add=["IPC_LOCK"],
            shm_size=1 << 30,
            **least_privilege.host_config(restricted),
        ),
    )
    return str(made["Id"])


def _output(client: Any, name: str, deadline: float) -> str:
    """What one rank printed; a rank that hangs has printed what it waits for, and is ended."""
    with suppress(requests.RequestException):
        client.wait(name, timeout=max(1.0, deadline - time.monotonic()))
    text: str = client.logs(name, tail=MOST_LOG_LINES).decode(errors="replace")
    return text


def _remove(client: Any, name: str) -> None:
    with suppress(APIError, NotFound, requests.RequestException):
        client.remove_container(name, force=True)
