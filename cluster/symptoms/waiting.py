"""What the wait for the model may end with, beside the causes in the log (cluster/engine_causes.py)."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.symptoms.table import Symptom

WAITING: Sequence[Symptom] = (
    Symptom(
        "`times in a row`",
        "Swarm started it again, and it ended each time",
        "the cause in the same message",
        "`trtspark logs`",
        checks=("service.restarts", "log.known"),
    ),
    Symptom(
        "`(readyTimeout)`",
        "it loads, but for longer than allowed: the first load of a large model from disk takes minutes",
        "`pulumi config set readyTimeout 3600`, and `up` again",
        "`trtspark logs --follow`",
        checks=("endpoint.answers",),
    ),
    Symptom(
        "`it lists the model but completes nothing`",
        "the server runs and answers with an error",
        "the text after it is the server's",
        "`trtspark logs`",
        checks=("endpoint.completes",),
    ),
    Symptom(
        "`NCCL took sockets although the fabric is there`",
        "RDMA devices are not in the container, or NCCL could not use them",
        "what NCCL said and the likely cause stand beside it; as a last resort `pulumi config set "
        "transport any`",
        "`trtspark logs`, `trtspark doctor --full`",
        checks=("transport.proven",),
    ),
    Symptom(
        "`NCCL did not say which transport it opened`",
        "`nccl` sets `NCCL_DEBUG` or `NCCL_DEBUG_SUBSYS`, so the log does not say it",
        "take it out",
        "`trtspark logs`",
        checks=("transport.proven",),
    ),
    Symptom(
        "`NCCL did not open`",
        "one half's device is missing in the container, or its link went down since the look",
        "`ibdev2netdev` there, and `pulumi up` again",
        "`ibdev2netdev` there",
        checks=("transport.proven",),
    ),
    Symptom(
        "`stood still during a completion`",
        "the adapter's counters: that half carries nothing",
        "ping that half both ways; take `NCCL_` limits out of `nccl`",
        "`ping -I IFACE PEER` there",
        checks=("transport.proven",),
    ),
)
