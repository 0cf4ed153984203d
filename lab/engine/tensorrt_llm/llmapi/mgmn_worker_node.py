"""`python3 -m tensorrt_llm.llmapi.mgmn_worker_node`: every MPI rank but the first.

Waits for what rank 0 says. A failure here is logged and the loop goes on; rank 0 is not told and
hangs in its next collective, as in the real program.
"""

import traceback
from typing import Any

from mpi4py import MPI

from ..executor.group import Group
from ..executor.rank import Job, Rank
from ..logger import logger
from ..nccl.log import NcclError
from ..version import current


def main() -> None:
    """Follow rank 0 until it says stop."""
    group = Group(MPI.COMM_WORLD)
    logger.rank = group.rank
    logger.banner(current())
    rank = Rank(group.rank, group.size, group.allgather)
    while (message := group.next_order(rank.nap))["op"] != "stop":
        follow(group, rank, message)
    rank.close()
    print(f"worker rank{group.rank} quited", flush=True)


def follow(group: Group, rank: Rank, message: dict[str, Any]) -> None:
    """Do what one message asks for."""
    if message["op"] == "load":
        try:
            rank.load(Job(**message["job"]))
        except Exception as error:  # any failure is logged, none ends the loop
            logger.error(f"Failed to initialize executor on rank {group.rank}: {error}")
            logger.error(traceback.format_exc())
    elif message["op"] == "step":
        try:
            rank.step()
        except NcclError as error:
            logger.error(f"Encountered an error in forward function: NCCL error: {error}")
        else:
            group.gather(None)


if __name__ == "__main__":
    main()
