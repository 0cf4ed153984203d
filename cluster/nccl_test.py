"""The all-reduce between all ranks, from the serving image: what its containers get, and what they print."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cluster import fabric, nccl_log
from cluster.fabric import Fabric
from cluster.rail_report import Nccl
from cluster.service_spec import COMMON_ENV

#: For each rank: enough for NCCL to reach its full rate, and little beside a model.
BYTES = 256 * 1024 * 1024
#: About 0.3 s at the full rate over two rails.
ROUNDS = 20
#: For the start of PyTorch, the meeting of the ranks and the rounds.
DEADLINE_S = 120
#: Below Linux's range for connections that are given any port (32768 on); no service of ours is there.
PORTS = range(28900, 29000)
ARGUMENTS = "TRTSPARK_NCCL_TEST"
RESULT = "trtspark_nccl"
_MOST_GBPS = 1000.0
_MOST_CHARS = 200


def plan(
    network: Fabric,
    overrides: Mapping[str, str],
    listening: Sequence[tuple[str, int]],
    restricted: bool,
) -> dict[str, Any]:
    """What the test needs besides connections and image, as plain data; {} where ranks share no RDMA fabric.

    `listening`: the head's ports that are taken; `restricted`: as `restrictContainers` says.
    """
    if fabric.expected_transport(network, overrides) != "IB":
        return {}
    taken = {port for _, port in listening}
    port = next((number for number in PORTS if number not in taken), PORTS[0])
    count = len(network.ranks)
    return {
        "environments": [
            {
                **COMMON_ENV,
                **fabric.environment(network, rank, overrides),
                # A failure's line names the cause; what goes well is not read.
                "NCCL_DEBUG": "WARN",
                ARGUMENTS: json.dumps(
                    {
                        "rank": rank,
                        "size": count,
                        "address": str(network.ranks[0].address),
                        "port": port,
                        "bytes": BYTES,
                        "rounds": ROUNDS,
                        "deadline": DEADLINE_S,
                    }
                ),
            }
            for rank in range(count)
        ],
        "restricted": restricted,
    }


def result(outputs: Sequence[str]) -> Nccl:
    """What the ranks printed, in the order of ranks: the slowest counts."""
    rates, version = [], ""
    for rank, text in enumerate(outputs):
        found = _answer(text)
        if found is None:
            return Nccl(None, said=f"rank {rank}: {_cause(text)}")
        rates.append(found[0])
        version = found[1]
    return Nccl(min(rates), version=version) if rates else Nccl(None, said="no rank answered")


def bus_gbps(size: int, rounds: int, seconds: float, ranks: int) -> float:
    """Bus bandwidth as nccl-tests defines it: each rank sends and receives 2(n-1)/n of the data."""
    return size * rounds * 2 * (ranks - 1) / ranks * 8 / seconds / 1e9


def _answer(text: str) -> tuple[float, str] | None:
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)[RESULT]
            size, rounds, ranks = int(found["bytes"]), int(found["rounds"]), int(found["size"])
            rate = bus_gbps(size, rounds, float(found["seconds"]), ranks)
            version = str(found["version"])[:20]
        except (ValueError, TypeError, LookupError, ArithmeticError):
            continue
        if math.isfinite(rate) and 0 < rate <= _MOST_GBPS:
            return rate, version
    return None


def _cause(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    warned = [line.text for line in nccl_log.parse_all(lines) if line.warning]
    return (warned or lines[-1:] or ["it printed nothing"])[0][:_MOST_CHARS].rstrip(".")
