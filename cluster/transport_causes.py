"""Why RDMA did not come about: the table of what NCCL says, what it means, and what to do.

The lines are NCCL's own, as recorded on Sparks and in its source (net_ib, socket, net plugins); some causes
show in no line but in the facts: an old toolkit, ends with different MTU, a slow link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.transport import Expected

#: The first toolkit that gives containers RDMA devices.
_MOFED = (1, 11)
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
        "and kernel 7.0.0-1019 for kho=off",
    ),
    Cause(
        "gid-family",
        r"ibv_modify_qp failed.*local GID fe80",
        "NCCL used a link-local GID, not the one of the IPv4 address",
        "take NCCL_IB_GID_INDEX out of `nccl`, and `pulumi up` again so that the address's own is found",
    ),
    Cause(
        "gid-index",
        r"ibv_modify_qp failed with (?:22|61)|ibv_query_gid failed|local GID ::, ",
        "there is no GID at that index",
        "take NCCL_IB_GID_INDEX out of `nccl`; or the address changed since the look: `pulumi up` again",
    ),
    Cause(
        "other-subnet",
        r"crossed subnets",  # not NCCL's: see _crossed
        "NCCL paired two halves that are not in one subnet",
        "in a ring or with crossed halves NCCL 2.30.7 is needed; else exchange the halves' addresses",
    ),
    Cause(
        "unreachable",
        r"ibv_modify_qp failed with 110|with status=12|IBV_WC_RETRY_EXC_ERR",
        "the other end did not answer over RDMA",
        "ping both halves both ways (`ping -M do -s 8972`), compare MTU and GID tables of the two ends, look "
        "at the cable",
    ),
    Cause(
        "firewall",
        r"socket\w*Connect\w*: connect.*(?:refused|timed out|No route)|Call to connect .*failed"
        r"|no connection from",
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
        "half-idle",
        r"stood still",
        "that half carries no traffic: NCCL's channels do not use it",
        "look for `via NET/IB` in `docker service logs`, take NCCL_MAX_NCHANNELS and NCCL_CROSS_NIC out of "
        "`nccl`, and ping that half both ways",
    ),
)


def recognised(line: str) -> Cause | None:
    """The cause that one line of NCCL's shows by itself; None for any other line."""
    if "NCCL " not in line:
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
    """The first rank whose NCCL said why it failed, with the cause; "" when none did."""
    for cause in CAUSES:
        for rank in ranks:
            mine = lines_of(rank, ranks, lines)
            if _sign(cause, mine, "") is not None:
                return f"rank {rank.rank} ({rank.node}): {explain(rank, ranks, mine)}"
    return ""


def _sign(cause: Cause, lines: Sequence[str], what: str) -> str | None:
    """The line that shows the cause, "" when the gate's own finding does, None when nothing does."""
    if cause.id == "other-subnet":
        return next((line for line in reversed(lines) if _crossed(line)), None)
    line = next((line for line in reversed(lines) if re.search(cause.sign, line)), None)
    return line if line is not None else ("" if re.search(cause.sign, what) else None)


def _crossed(line: str) -> bool:
    """Whether a failed connection was between addresses that differ before the last octet."""
    found = _GIDS.search(line)
    if "ibv_modify_qp failed" not in line or not found:
        return False
    ends = [gid.rpartition(":")[2].rpartition(".")[0] for gid in found.groups()]
    return all(ends) and ends[0] != ends[1]


def _text(line: str) -> str:
    return line.partition(" NCCL ")[2].partition(" ")[2].strip()[:160]


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
