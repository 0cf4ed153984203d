"""`python3 -m tensorrt_llm.llmapi.mgmn_leader_node`: MPI rank 0 and its GPU."""

from mpi4py import MPI

from ..executor.group import Group
from ..executor.leader import Leader
from ..logger import logger
from ..version import current


def main() -> None:
    """Lead all ranks until the server is done."""
    group = Group(MPI.COMM_WORLD)
    logger.rank = group.rank
    logger.banner(current())
    Leader(group).run()


if __name__ == "__main__":
    main()
