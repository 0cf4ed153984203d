"""What a container of ours may do: Docker's defaults, less what no part of the image needs. No I/O.

docs/decisions/0070-least-privilege.md has the reasons. `restrictContainers: false` takes all of it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.facts import Docker
from cluster.release import numbers

#: Of Docker's fourteen, those that neither the engine nor MPI nor ssh as a client uses.
DROPPED = (
    "CAP_AUDIT_WRITE",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
)
#: For a server whose port only root may bind: the host's network has the host's limit.
BIND = "CAP_NET_BIND_SERVICE"
FIRST_FREE_PORT = 1024
#: Processes and threads. A rank has hundreds, and while it compiles some on each of 20 cores; the kernel's
#: smallest limit for the whole machine is 32,768, so half of that is always left for sshd and Docker.
PIDS = 16_384
#: The Engine API that knows no-new-privileges for services, and the Docker that brought it; those before
#: drop the field without a word.
NO_NEW_PRIVILEGES_API, NO_NEW_PRIVILEGES_DOCKER = (1, 44), 25


@dataclass(frozen=True)
class Privileges:
    """What a rank's container may do less than Docker's defaults; nothing by itself."""

    dropped: tuple[str, ...] = ()
    pids: int = 0
    no_new: bool = False


#: A container that is not restricted.
DOCKERS = Privileges()


def of_rank(port: int | None, engines: Sequence[Docker]) -> Privileges:
    """A rank's. `port`: the one that it binds, None for a worker; `engines`: the manager's and the one of the
    rank's own node.
    """
    kept = {BIND} if port is not None and port < FIRST_FREE_PORT else set()
    return Privileges(
        tuple(name for name in DROPPED if name not in kept), PIDS, all(map(_knows_no_new, engines))
    )


def host_config(restricted: bool) -> dict[str, Any]:
    """Of a container without a service, as docker's `create_host_config` takes it. Every Docker that we
    support knows all three.
    """
    if not restricted:
        return {}
    return {"cap_drop": list(DROPPED), "pids_limit": PIDS, "security_opt": ["no-new-privileges:true"]}


def _knows_no_new(engine: Docker) -> bool:
    """By its program's version where it does not answer yet: the first `up` may be what lets the user ask."""
    if not engine.api:
        return numbers(engine.installed) >= (NO_NEW_PRIVILEGES_DOCKER,)
    return numbers(engine.api) >= NO_NEW_PRIVILEGES_API
