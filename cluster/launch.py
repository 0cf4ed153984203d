"""What rank 0's container needs to know to start all ranks: the content of launch.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import kernel_cache
from cluster.fabric import Fabric
from cluster.patience import patience

#: A start that nobody waits for is ended later than one that somebody waits for.
LONGER = 4


@dataclass(frozen=True)
class Login:
    """How the head's container logs in on a worker: a forced command is all it gets there."""

    user: str
    port: int
    host_key: str


def launch_file(fabric: Fabric, logins: Sequence[Login], drain_s: int, size: int, kernels: str) -> str:
    """launch.json: every rank's address on the fabric and its host's pinned key, head first.

    `drain_s`: seconds that requests in flight get when the server shall stop. `size`: the model's files in
    bytes, 0 where it is not known; the load has a deadline by it that leaves `pulumi up`'s own behind.
    `kernels`: the key of cluster/kernel_cache.py, "" to keep no compiled kernels.
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
        "ready_s": int(LONGER * patience(size, None)),
        "needs": size // len(fabric.ranks),
        "kernels": {"key": kernels, "volume": kernel_cache.VOLUME, "link": kernel_cache.CURRENT},
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
