"""Whether a container sees the GPU: one that runs nvidia-smi, from an image that is there, and is removed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import requests
from docker.errors import APIError, DockerException, ImageNotFound

from cluster.errors import NodeError
from cluster.least_privilege import host_config
from remote.engine import connect
from remote.ssh import Connection

RUN_TIMEOUT_S = 60
LABEL = "trtspark.doctor"
_ENV = ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=utility"]


def problem(
    connection: Connection, images: Sequence[str], restricted: bool, client_of: Any = connect
) -> str | None:
    """ "" when `nvidia-smi -L` in a container of the nvidia runtime lists a GPU, else what it said; None
    when the node has no image to try it with. `images`: the first of them that is there is taken, else any;
    `restricted`: as `restrictContainers` says.
    """
    try:
        client = client_of(connection)
        image = _image(client, images)
        if image is None:
            return None
        return _tried(client, image, restricted)
    except (NodeError, DockerException, requests.RequestException) as error:
        return _said(error)


def _image(client: Any, images: Sequence[str]) -> str | None:
    for name in images:
        with suppress(ImageNotFound):
            return str(client.inspect_image(name)["Id"])
    found = client.images(filters={"dangling": False})
    return str(found[0]["Id"]) if found else None


def _tried(client: Any, image: str, restricted: bool) -> str:
    made = client.create_container(
        image,
        entrypoint=["nvidia-smi"],
        command=["-L"],
        environment=_ENV,
        labels={LABEL: "gpu"},
        host_config=client.create_host_config(
            runtime="nvidia", network_mode="none", **host_config(restricted)
        ),
    )
    try:
        client.start(made["Id"])
        code = client.wait(made["Id"], timeout=RUN_TIMEOUT_S)["StatusCode"]
        out = client.logs(made["Id"]).decode(errors="replace").strip()
    finally:
        with suppress(APIError):
            client.remove_container(made["Id"], force=True)
    if code == 0 and "GPU 0" in out:
        return ""
    last: str = (out.splitlines() or [f"nvidia-smi ended with {code}"])[-1]
    return last[:200]


def _said(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)
    return str(explanation or error).strip().splitlines()[-1][:200]
