"""Why RDMA did not come about: the table of what NCCL says, what it means, and what to do.

The lines are NCCL's own, as recorded (tests/fixtures/nccl-2.28.9) and in its source (net_ib, socket, net
plugins) of 2.27 to 2.30; some causes
show in no line but in the facts: an old toolkit, ends with different MTU, a slow link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from cluster import nccl_log

if TYPE_CHECKING:
    from cluster.transport import Expected

#: The first toolkit that gives containers RDMA devices.
_MOFED = (1, 11)
#: NCCL's own lines have at most 1024 bytes; whatever is longer is not searched to its end.
_LONGEST = 2048
_EVENT = re.compile(r"\bGot (?:\S+ )?async (?:error |fatal )?event ?:|Call to ibv_\w+ failed")
_GIDS = re.compile(r"local GID (\S+?), remote GID (\S+)")


@dataclass(frozen=True)
class Cause:
    """`sign` is searched in the rank's lines of NCCL and in what the gate found."""

    id: str
    sign: str
    means: str
    todo: str


CAUSES: Sequence[Cause] = (
    Cause(
        "no-device",
        r"Call to ibv_open_device failed|NET/IB : Unable to open device",
        "the container has no RDMA devices",
        "check that Docker's default runtime there is nvidia (`docker info`) and its toolkit 1.11 or later",
    ),
    Cause(
        "no-verbs",
        r"Failed to open libibverbs",
        "the image lacks the RDMA libraries",
        "use NVIDIA's image, or one with rdma-core",
    ),
    Cause(
        "memlock",
        r"ibv_reg_mr\S* failed|ibv_create_\w+ failed with error Cannot allocate",
        "the rank may not lock enough memory",
        "see `docker service inspect` for memlock -1 and CAP_IPC_LOCK, `ulimit -Hl` of Docker on the node, "
        "and `grep Cma /proc/meminfo` (CmaFree above CmaTotal: a broken kernel)",
    ),
    Cause(
        "gid-family",
        r"ibv_modify_qp failed.*local GID fe80",
        "NCCL used a link-local GID, not the one of the IPv4 address",
        "take NCCL_IB_GID_INDEX out of `nccl`: NCCL looks for the IPv4 address's GID at each start",
    ),
    Cause(
        "gid-index",
        r"ibv_modify_qp failed with (?:22|61)|ibv_query_gid failed|local GID ::, ",
        "there is no GID at that index",
        "take NCCL_IB_GID_INDEX out of `nccl`: the index moves with restarts and cables, and NCCL looks for "
        "it at each start. If it is not set, the port lost its address: `ip -br addr`",
    ),
    Cause(
        "other-subnet",
        r"crossed subnets",  # not NCCL's: see _crossed
        "NCCL paired two halves that are not in one subnet",
        "in a ring or with crossed halves NCCL 2.30.7 is needed; else exchange the halves' addresses",
    ),
    Cause(
        "link-lost",
        # Three spellings by version: "Got async [error|fatal] event: port error", from 2.28 on "non-fatal".
        r"Got (?:\S+ )?async (?:error |fatal )?event ?: port error",
        "the link of that port went down while NCCL used it",
        "check the cable and the port (`ibdev2netdev`, `sudo dmesg | grep mlx5`). A server that no longer "
        "answers is started again",
    ),
    Cause(
        "unreachable",
        r"ibv_modify_qp failed with (?:101|110|113)|with status=12|IBV_WC_RETRY_EXC_ERR",
        "the other end did not answer over RDMA",
        "ping both halves both ways (`ping -M do -s 8972`), compare MTU and GID tables of the two ends, look "
        "at the cable",
    ),
    Cause(
        "firewall",
        r"socket\w*Connect\w*: connect.*(?:refused|timed out|No route)|Call to connect .*failed",
        "a TCP connection between the ranks was refused",
        "let all TCP between the nodes' addresses on the fabric pass (`sudo ufw status`, docs/preparing.md)",
    ),
    Cause(
        "interface",
        r"Bootstrap : no socket interface found",
        "the interface in NCCL_SOCKET_IFNAME is not in the container",
        "take it out of `nccl`; the container must be on the host's network",
    ),
    Cause(
        "filter",
        r"NET/IB : No device found|Failed to initialize any NET plugin|network IB not found",
        "no device of that name is active in the container",
        "compare NCCL_IB_HCA with `ls /sys/class/infiniband` there; the link may be down (`ibdev2netdev`)",
    ),
    Cause(
        "gid-changed",
        # 2.27 does not know the event and prints its number.
        r"GID table change|unknown event type \(18\)",
        "the addresses of that port changed while NCCL used it",
        "a cable was pulled, or an address was set (`ip -br addr`). A server that no longer answers is "
        "started again, and NCCL then finds the new GID",
    ),
    Cause(
        "half-idle",
        r"stood still",
        "that half carries no traffic: NCCL's channels do not use it",
        "look for `via NET/IB` in `docker service logs`, take NCCL_MAX_NCHANNELS and NCCL_CROSS_NIC out of "
        "`nccl`, and ping that half both ways",
    ),
)


def recognised(line: str) -> Cause | None:
    """The cause that one line of NCCL's shows by itself; None for any other line. What NCCL says of a port
    is its own, with its prefix or without.
    """
    if nccl_log.parse(line) is None and not _EVENT.search(line[:_LONGEST]):
        return None
    return next((cause for cause in CAUSES if _sign(cause, [line], "") is not None), None)


def explain(rank: Expected, ranks: Sequence[Expected], lines: Sequence[str], what: str = "") -> str:
    """What NCCL said of it, and the likely cause with its fix; "" when nothing is known.

    `lines` are NCCL's of that rank, `what` the gate's own finding.
    """
    fact = _by_facts(rank, ranks)
    for cause in CAUSES:
        line = _sign(cause, lines, what)
        if line is None:
            continue
        quoted = f"NCCL said: {_text(line)!r}. " if line else ""
        if cause.id in ("no-device", "filter") and _old(rank.toolkit):
            return f"{quoted}{_toolkit(rank)}"
        likely = f"{fact} " if fact and cause.id in ("unreachable", "half-idle") else ""
        return f"{quoted}{likely}Likely cause: {cause.means}; {cause.todo}."
    return fact


def told(ranks: Sequence[Expected], lines: Sequence[str], lines_of: Callable[..., list[str]]) -> str:
    """The first rank whose NCCL said why it failed, with the cause; "" when none did.

    A warning that is not in the table is quoted as it is: the first, as others tend to follow from it.
    A line that several ranks may have printed (one host name, no address) is told to all of them.
    """
    mine = {rank.rank: lines_of(rank, ranks, lines) for rank in ranks}

    def names(line: str) -> str:
        return " or ".join(one.name for one in ranks if any(line is other for other in mine[one.rank]))

    for cause in CAUSES:
        for rank in ranks:
            if (line := _sign(cause, mine[rank.rank], "")) is not None:
                return f"{names(line)}: {explain(rank, ranks, mine[rank.rank])}"
    warnings = (line for line in lines if (found := nccl_log.parse(line)) and found.warning)
    first = next((line for line in warnings if names(line)), "")
    return f"{names(first)}: NCCL said: {_text(first)!r}." if first else ""


def _sign(cause: Cause, lines: Sequence[str], what: str) -> str | None:
    """The line that shows the cause, "" when the gate's own finding does, None when nothing does."""
    if cause.id == "other-subnet":
        return next((line for line in reversed(lines) if _crossed(line)), None)
    line = next((line for line in reversed(lines) if re.search(cause.sign, line[:_LONGEST])), None)
    return line if line is not None else ("" if re.search(cause.sign, what) else None)


def _crossed(line: str) -> bool:
    """Whether a failed connection was between addresses that differ before the last octet."""
    found = _GIDS.search(line[:_LONGEST])
    if "ibv_modify_qp failed" not in line or not found:
        return False
    ends = [gid.rpartition(":")[2].rpartition(".")[0] for gid in found.groups()]
    return all(ends) and ends[0] != ends[1]


def _text(line: str) -> str:
    found = nccl_log.parse(line)
    return found.text[:160] if found else ""


def _old(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return bool(numbers) and (int(numbers[1]), int(numbers[2])) < _MOFED if numbers else False


def _toolkit(rank: Expected) -> str:
    return (
        f"Likely cause: NVIDIA's container toolkit there is {rank.toolkit}, which gives containers no RDMA "
        "devices; `sudo apt-get install --only-upgrade nvidia-container-toolkit` (1.11 or later)."
    )


def _by_facts(rank: Expected, ranks: Sequence[Expected]) -> str:
    """What the look before the plan knew of this rank's cables."""
    for hca in rank.hcas:
        network = IPv4Interface(hca["address"]).network
        for other in ranks:
            for end in other.hcas:
                if other is rank or IPv4Interface(end["address"]).network != network:
                    continue
                if int(end["mtu"]) != int(hca["mtu"]):
                    return (
                        f"{hca['netdev']} has MTU {int(hca['mtu'])}, and {end['netdev']} of {other.node} "
                        f"{int(end['mtu'])}: set one on both."
                    )
                if int(end["rate"]) != int(hca["rate"]):
                    return (
                        f"{hca['netdev']} does {int(hca['rate'])} Gb/s, and {end['netdev']} of {other.node} "
                        f"{int(end['rate'])}: another cable or port."
                    )
    return ""
