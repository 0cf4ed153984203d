"""Live checks of the Swarm: its members, their GPUs, and the ranks' services."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import exits
from cluster.checks.table import Finding
from cluster.live.seen import Live, Member, Service, Task
from cluster.live.table import live_check
from cluster.service_spec import service_name

#: Restarts older than this are the past.
RECENT_S = 3600.0
#: So many ends within RECENT_S, and none that runs: it will not come up by itself.
LOOP = 3
UP = "`pulumi refresh`, then `pulumi up`."


def _member(live: Live, index: int) -> Member | None:
    own = live.nodes[index].docker.swarm.node_id
    return next((one for one in live.swarm or () if one.id == own), None)


@live_check(
    "swarm.member",
    "Every node is in the Swarm, and the head manages it.",
    UP,
)
def member(live: Live) -> Iterator[Finding]:
    """By each node's own word."""
    for index, facts in enumerate(live.nodes):
        if facts.docker.problem:
            continue
        swarm = facts.docker.swarm
        state = swarm.state or facts.docker.swarm_state
        if state != "active":
            said = f" ({swarm.error})" if swarm.error else ""
            yield Finding("FAIL", facts.node, f"it is in no Swarm now: {state}{said}.", f"Run {UP}")
        elif index == 0 and live.swarm is None:
            yield Finding("FAIL", facts.node, "its Swarm gives no answer to a manager's questions.",
                          "`docker node ls` there says why.")  # fmt: skip


@live_check(
    "swarm.ready",
    "The Swarm lists every node as ready and active.",
    "Is it on, and its Docker? `docker node update --availability active NODE` undoes a drain.",
    area="swarm",
)
def ready(live: Live) -> Iterator[Finding]:
    """By the manager's word."""
    for index, facts in enumerate(live.nodes):
        if live.swarm is None or facts.docker.problem or facts.docker.swarm.state != "active":
            continue
        found = _member(live, index)
        if found is None:
            yield Finding("FAIL", facts.node, "the head's Swarm does not list it.", f"Run {UP}")
        elif found.state != "ready":
            yield Finding(
                "FAIL",
                facts.node,
                f"the Swarm calls it {found.state}.",
                "Are ports 2377 and 7946 open between the nodes, and is Docker there well? "
                "`sudo systemctl restart docker` there.",
            )
        elif found.availability != "active":
            yield Finding(
                "FAIL",
                facts.node,
                f"somebody has set it to {found.availability}, so no rank is started there.",
                f"Run on the head `docker node update --availability active {found.hostname}`.",
            )


@live_check(
    "swarm.gpu",
    "The Swarm lists every node's GPU as a resource.",
    UP,
    area="swarm",
)
def gpu(live: Live) -> Iterator[Finding]:
    """Without it Swarm finds "no suitable node"."""
    for index, facts in enumerate(live.nodes):
        found = _member(live, index)
        if found is None or found.state != "ready" or facts.gpu_problem:
            continue
        if facts.gpu_uuid not in found.gpus:
            listed = ", ".join(found.gpus) or "none"
            yield Finding(
                "FAIL",
                facts.node,
                f"the Swarm lists the GPU {listed} for it, and nvidia-smi {facts.gpu_uuid}.",
                f"Run {UP}",
            )


@live_check(
    "service.there",
    "Every rank has its service.",
    UP,
    area="swarm",
)
def there(live: Live) -> Iterator[Finding]:
    """Removed by hand."""
    if live.swarm is None:
        return
    known = {one.rank for one in live.services}
    for rank in range(len(live.settings.active_nodes)):
        if rank not in known:
            name = service_name(live.stack, rank)
            yield Finding("FAIL", "", f"the service {name} is not there.", f"Run {UP}")


@live_check(
    "service.running",
    "Every rank's container runs.",
    "`docker service ps NAME` on the head; `trtspark logs`.",
    "FAIL",
    "WARN",
    needs="serving",
    area="swarm",
)
def running(live: Live) -> Iterator[Finding]:
    """Not scheduled, starting, ended, or stopped by hand."""
    for service in live.services:
        mine = [one for one in live.tasks if one.rank == service.rank]
        if service.replicas == 0:
            yield Finding(
                "FAIL", "", f"{service.name} is scaled to 0 although `running` is true.", f"Run {UP}"
            )
        elif not any(one.state == "running" and one.desired == "running" for one in mine):
            yield _not_running(service, mine)


def _not_running(service: Service, mine: list[Task]) -> Finding:
    failed = _ended(service, mine)
    waiting = next((one for one in mine if one.desired == "running" and not one.failed), None)
    if len(failed) >= LOOP:
        return Finding(
            "FAIL", "", f"{service.name} ended {len(failed)} times within the hour: {_why(failed[0])}.",
            "`trtspark logs` has the ended containers' words and explains them; after mending it, "
            "`pulumi up`, or `docker service update --force` on the head.",
        )  # fmt: skip
    if waiting and "no suitable node" in waiting.said:
        return Finding(
            "FAIL",
            "",
            f"Swarm finds no place for {service.name}: {waiting.said}.",
            "Its node is down or drained, or its GPU is not offered or taken by another service "
            f"(`docker node ls`, `docker service ls`). Then {UP}",
        )
    if waiting:
        return Finding(
            "WARN", "", f"{service.name} does not run yet ({waiting.state}: {waiting.said}).",
            "`trtspark logs --follow` shows it come up.",
        )  # fmt: skip
    if failed:
        return Finding("FAIL", "", f"{service.name} does not run: {_why(failed[0])}.", "`trtspark logs`.")
    return Finding("FAIL", "", f"{service.name} has no container.", f"Run {UP}")


def _ended(service: Service, mine: list[Task]) -> list[Task]:
    """The recent ends of the spec as it is now; what ended under another one is mended, or was not asked
    for any more.
    """
    since = min(RECENT_S, service.age_s)
    return [one for one in mine if one.failed and one.age_s < since]


def _why(task: Task) -> str:
    known = exits.EXITS.get(task.exit_code) if task.exit_code is not None else None
    meaning = f" ({known.means}: {known.todo})" if known and known.todo else ""
    return f"{task.said}{meaning}"


@live_check(
    "service.restarts",
    "No rank had to be started again within the last hour.",
    "`trtspark logs` has the ended containers' words.",
    "WARN",
    needs="serving",
    area="swarm",
)
def restarts(live: Live) -> Iterator[Finding]:
    """It runs now, and did not always."""
    for service in live.services:
        mine = [one for one in live.tasks if one.rank == service.rank]
        failed = _ended(service, mine)
        runs = [one for one in mine if one.state == "running" and one.desired == "running"]
        if failed and runs:
            times = "once" if len(failed) == 1 else f"{len(failed)} times"
            yield Finding(
                "WARN",
                "",
                f"{service.name} ended {times} within the hour, and runs again since "
                f"{runs[0].age_s / 60:.0f} min: {_why(failed[0])}.",
                "`trtspark logs` has the ended containers' words.",
            )
