"""What rank 0's container needs to know to start all ranks: the content of launch.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.fabric import Fabric


@dataclass(frozen=True)
class Login:
    """How the head's container logs in on a worker: a forced command is all it gets there."""

    user: str
    port: int
    host_key: str


def launch_file(fabric: Fabric, logins: Sequence[Login], drain_s: int) -> str:
    """launch.json: every rank's address on the fabric and its host's pinned key, head first.

    `drain_s`: seconds that requests in flight get when the server shall stop.
    """
    ranks = [
        {
            "rank": rank,
            "address": str(network.address),
            "user": login.user,
            "port": login.port,
            "host_key": login.host_key,
        }
        for rank, (network, login) in enumerate(zip(fabric.ranks, logins, strict=True))
    ]
    content = {
        "ranks": ranks,
        "subnet": ",".join(str(network) for network in fabric.networks),
        "drain_s": drain_s,
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
