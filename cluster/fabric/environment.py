"""Each rank's variables for NCCL, UCX, Gloo and OpenMPI.

Sources: NCCL's documentation of its variables (a leading `=` is an exact name), NVIDIA's playbooks for two
and three Sparks. What mpirun and its daemons need for themselves (their network, keepalive) is on mpirun's
command line (remote/node/rank0.py), because OpenMPI 4.1 and 5 spell it differently.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.fabric import halves
from cluster.fabric.shape import Fabric, RankNetwork, Transport

#: INIT and NET print which HCAs are opened and how ranks connect, ENV which variables NCCL took.
DEBUG_SUBSYSTEMS = "INIT,NET,ENV"


def environment(fabric: Fabric, rank: int, overrides: Mapping[str, str]) -> dict[str, str]:
    """The variables of one rank; `overrides` are the user's and win."""
    return dict(sorted({**_found(fabric, rank), **overrides}.items()))


def overridden(fabric: Fabric, overrides: Mapping[str, str]) -> tuple[str, ...]:
    """The user's variables that replace something found: "NAME=theirs instead of ours[, ours]"."""
    said = []
    for name, value in sorted(overrides.items()):
        ours = [_found(fabric, rank).get(name) for rank in range(len(fabric.ranks))]
        replaced = dict.fromkeys(one for one in ours if one not in (None, value))
        if replaced:
            said.append(f"{name}={value} instead of {' and '.join(str(one) for one in replaced)}")
    return tuple(said)


def cautions(overrides: Mapping[str, str]) -> tuple[str, ...]:
    """What the user's variables may break, a sentence each."""
    index = overrides.get("NCCL_IB_GID_INDEX", "")
    if not index or index.startswith("-"):
        return ()
    return (
        f"NCCL_IB_GID_INDEX={index} in `nccl` applies to every RDMA device at every start, but the index "
        "moves when a machine restarts or a cable is pulled, and the ranks then fail to connect or hang. "
        "Remove it: NCCL finds the index itself.",
    )


def expected_transport(fabric: Fabric, overrides: Mapping[str, str]) -> Transport:
    """What the ranks must report: the plan's transport, unless the user turned RDMA off."""
    off = overrides.get("NCCL_IB_DISABLE") == "1" or overrides.get("NCCL_NET") == "Socket"
    return "Socket" if off and fabric.transport == "IB" else fabric.transport


def _found(fabric: Fabric, rank: int) -> dict[str, str]:
    network = fabric.ranks[rank]
    found = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": DEBUG_SUBSYSTEMS}
    if fabric.transport == "none":
        return found
    found |= {
        "NCCL_SOCKET_IFNAME": f"={network.interface}",
        "GLOO_SOCKET_IFNAME": network.interface,
        "OMPI_MCA_btl_tcp_if_include": ",".join(str(one) for one in fabric.networks),
        # An interface and never an RDMA device, as in NVIDIA's recipe for two Sparks: MPI's own messages are
        # small and gain nothing from RoCE, and UCX pairs RDMA devices by position.
        "UCX_NET_DEVICES": network.interface,
    }
    if fabric.transport == "Socket":
        return found | {"NCCL_IB_DISABLE": "1"}
    devices = ",".join(f"{hca.name}:1" for hca in network.hcas)
    found |= {"NCCL_IB_HCA": f"={devices}", **_gid(network)}
    if fabric.required:
        # By name: without a usable HCA NCCL then fails instead of taking sockets.
        found["NCCL_NET"] = "IB"
    if fabric.by_subnet:
        found |= {
            "NCCL_IB_SUBNET_AWARE_ROUTING": "1",
            "NCCL_CROSS_NIC": "1",
            "NCCL_IB_MERGE_NICS": "0",
            "NCCL_NET_PLUGIN": "none",
        }
    return found


def _gid(network: RankNetwork) -> dict[str, str]:
    """What a GID must be. NCCL then finds its index on every HCA at every start: an index is never given.

    The kernel puts a GID into the first free place of its table, so that an address which comes back after a
    restart or a link failure may stand elsewhere (3 becomes 4), and on each HCA for itself.
    """
    found = {"NCCL_IB_ROCE_VERSION_NUM": "2", "NCCL_IB_ADDR_FAMILY": "AF_INET"}
    if halves.further(network.hcas) and (within := halves.address_range(network.hcas)):
        # Of several addresses NCCL takes the first in the table unless it is told where to look.
        found["NCCL_IB_ADDR_RANGE"] = str(within)
    return found
