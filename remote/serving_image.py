"""One short container of the serving image, without GPU and network: what it has for the launch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound

from cluster import image as images
from cluster import image_table, least_privilege
from cluster.errors import NodeError, NotReady, PlanError
from remote.engine import connect
from remote.ssh import Connection

#: The first start of a large image reads much from a cold disk.
RUN_TIMEOUT_S = 120
LABEL = "trtspark.image-check"


def check(props: Mapping[str, Any], client_of: Any = connect) -> dict[str, str]:
    """openmpi, python, ssh, release, transformers, nccl and driver ("" where the image has none). Raises
    PlanError with what is missing, or why this release is refused.

    All nodes have the same content by digest (cluster/image.py): the head's answer is everybody's. An
    image by name alone is looked into on each of them.
    """
    connections = [Connection.from_props(one) for one in props["connections"]]
    if "@sha256:" in props["image"]:
        connections = connections[:1]
    restricted = bool((props.get("use") or {}).get("restricted", True))
    with ThreadPoolExecutor(len(connections)) as pool:
        texts = list(pool.map(lambda one: _look(one, props["image"], restricted, client_of), connections))
    hosts = [one.host for one in connections]
    found = images.usable(props["image"], hosts, [images.parse(text) for text in texts], props["several"])
    _judge(props, found)
    return {
        "openmpi": found.openmpi,
        "python": found.python,
        "ssh": found.ssh,
        "release": found.env.get("TRT_LLM_VERSION", ""),
        "transformers": found.transformers,
        "nccl": found.env.get("NCCL_VERSION", ""),
        "driver": found.env.get("CUDA_DRIVER_VERSION", ""),
    }


def _judge(props: Mapping[str, Any], found: images.ImageFacts) -> None:
    """Refuse what preflight would have refused, had it known the image. `props["use"]`: what for."""
    use = props.get("use") or {}
    if not use or use["allowed"]:
        return
    for host, driver, cuda in use["drivers"]:
        problem = images.driver_problem(found.env, driver, cuda)
        if problem and problem.fatal:
            raise PlanError(f"{host}: {problem.found} {problem.todo} {image_table.OVERRIDE}")
    release = images.release_of(props["image"], found.env)
    model = image_table.Served(**use["model"])
    if release and (said := image_table.refusal(release, int(use["ranks"]), model)):
        raise PlanError(f"{said} What served before was not touched.")


def _look(connection: Connection, image: str, restricted: bool, client_of: Any) -> str:
    """What the script printed in a container there, with no more rights than the ranks have."""
    script = resources.files("remote").joinpath("image_check.sh").read_text("utf-8")
    client = client_of(connection)
    sweep(client)
    try:
        made = client.create_container(
            image,
            # As rank 0 is started: bash, whose start-up file sets part of the image's environment.
            entrypoint=["bash", "-c", script],
            environment=["NVIDIA_VISIBLE_DEVICES=void"],
            labels={LABEL: "1"},
            host_config=client.create_host_config(
                network_mode="none", **least_privilege.host_config(restricted)
            ),
        )
    except ImageNotFound:
        todo = f"Run there `docker pull {image}`, or set pullImage."
        raise NodeError(connection.host, f"it has no image {image}.", todo) from None
    try:
        client.start(made["Id"])
        client.wait(made["Id"], timeout=RUN_TIMEOUT_S)
        return str(client.logs(made["Id"], stderr=False).decode(errors="replace"))
    except APIError as error:
        said = str(error.explanation or error).strip().splitlines()[-1][:200]
        raise NodeError(
            connection.host,
            f"a container of {image} does not start ({said}).",
            "Is it an image of TensorRT-LLM for this machine's architecture?",
        ) from None
    except requests.RequestException:
        raise NotReady(
            f"{connection.host}: waited {RUN_TIMEOUT_S} s for a container of {image} to say what it has. "
            "Is the machine busy? Try the same again."
        ) from None
    finally:
        with suppress(APIError):
            client.remove_container(made["Id"], force=True)


def sweep(client: Any, every: bool = False) -> None:
    """Remove what an interrupted look left: ended containers, and ones never started; with `every`, all."""
    for one in client.containers(all=True, filters={"label": f"{LABEL}=1"}):
        old = time.time() - float(one.get("Created") or 0) > RUN_TIMEOUT_S
        if every or old or one.get("State") not in ("running", "created"):
            with suppress(APIError):  # gone already
                client.remove_container(one["Id"], force=True)
