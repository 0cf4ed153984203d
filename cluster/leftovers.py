"""What a person does about a machine that was left out while it could not be reached."""

from __future__ import annotations

import shlex

from cluster.service_spec import kernel_volume
from cluster.swarm_plan import STACK_LABEL


def by_hand(stack: str) -> str:
    """How to clean such a machine: by listing it once more, which undoes everything, or by commands there,
    which leave Docker's settings as we prepared them.
    """
    commands = (
        "docker swarm leave --force",
        f"docker ps -aqf {shlex.quote(f'label={STACK_LABEL}={stack}')} | xargs -r docker rm -f",
        f"docker volume rm -f {shlex.quote(kernel_volume(stack))}",
        f"sed -i {shlex.quote(f'/ trtspark-mpi-{stack}$/d')} ~/.ssh/authorized_keys",
        f"rm -f ~/.trtspark/{shlex.quote(f'rank-exec-{stack}')}",
    )
    return (
        "When it is back: list it again, `pulumi up`, and take it out again; or run there "
        f"`{'; '.join(commands)}`, which leaves Docker's settings as they are."
    )
