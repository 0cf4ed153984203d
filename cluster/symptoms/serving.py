"""What goes wrong with a deployment that has worked: what the doctor's live checks find."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.symptoms.table import Symptom

AGAIN = "`pulumi refresh`, then `pulumi up`"

SERVING: Sequence[Symptom] = (
    Symptom(
        "`Docker is not prepared as it was`",
        "`daemon.json` or `config.toml` was edited, or a package's update wrote it anew",
        AGAIN,
        "`docker info` there",
        checks=("deployed.prepared",),
    ),
    Symptom(
        "`its GPU's clock is held back`",
        "heat, the power supply, or the hardware's own brake",
        "air on all sides, the supply that came with it, or a cap: `pulumi config set gpuClockLimit 2200`",
        "`nvidia-smi -q -d PERFORMANCE,TEMPERATURE,CLOCK` there",
        checks=("gpu.held",),
    ),
    Symptom(
        "`its GPU is busy and stays at`",
        "the machine is stuck at low power, which outlives a reboot",
        "shut it down, unplug its power supply for a minute, and use the supply that came with it",
        "`nvidia-smi --query-gpu=utilization.gpu,clocks.sm,power.draw --format=csv` there",
        checks=("gpu.held",),
    ),
    Symptom(
        "`its GPU has` … `degrees Celsius`",
        "too little air, or a warm neighbour; a Spark's hottest sensor is above what nvidia-smi shows",
        "air on all sides, or a cap: `pulumi config set gpuClockLimit 2200`",
        "`nvidia-smi -q -d TEMPERATURE` there",
        checks=("gpu.hot",),
    ),
    Symptom(
        "`as when an exchange between the nodes hangs`",
        "the ranks wait for each other: a GPU that spins is busy, and draws idle power",
        "`trtspark doctor --full` tests the cables; `pulumi up` restarts a server that completes nothing",
        "`trtspark logs`",
        checks=("gpu.hung",),
    ),
    Symptom(
        "`the cap on its GPU's clock is`, `above the cap of`",
        "somebody reset the clock or removed `trtspark-gpu-clock.service`, or the driver was loaded anew",
        AGAIN,
        "`systemctl status trtspark-gpu-clock` there",
        checks=("gpu.capped",),
    ),
    Symptom(
        "`it is in no Swarm now`",
        "`docker swarm leave`, an expired certificate, or Docker without its data",
        AGAIN,
        "`docker info` there",
        checks=("swarm.member",),
    ),
    Symptom(
        "`the Swarm calls it`",
        "the machine is off or unreachable, or its Docker is not well",
        "switch it on; ports 2377 and 7946 between the nodes",
        "`docker node ls` on the head",
        checks=("swarm.ready",),
    ),
    Symptom(
        "`so no rank is started there.`",
        "`docker node update --availability drain` or `pause`",
        "`docker node update --availability active NODE` on the head",
        "`docker node ls` on the head",
        checks=("swarm.ready",),
    ),
    Symptom(
        "`the Swarm lists the GPU`",
        "Docker there was started without the GPU as a resource",
        AGAIN,
        "`docker node inspect NODE` on the head",
        checks=("swarm.gpu",),
    ),
    Symptom(
        "`Swarm finds no place for` (Swarm: no suitable node)",
        "the node is down or drained, its GPU is not offered, or another service has it",
        "what the message names",
        "`docker service ps trtspark-STACK-rank-N` on the head",
        checks=("service.running", "swarm.gpu", "swarm.ready"),
    ),
    Symptom(
        "`the service` … `is not there.`",
        "`docker service rm` by hand",
        AGAIN,
        "`docker service ls` on the head",
        checks=("service.there",),
    ),
    Symptom(
        "`is scaled to 0 although`",
        "`docker service scale` by hand",
        AGAIN,
        "`docker service ls` on the head",
        checks=("service.running",),
    ),
    Symptom(
        "`times within the hour:` (a crash loop)",
        "the server ends each time it is started; after five times Swarm leaves it",
        "the cause in the log; then `pulumi up`",
        "`trtspark logs`",
        checks=("service.running", "service.restarts"),
    ),
    Symptom(
        "`within the hour, and runs again since` (a warning)",
        "a rank, a worker's machine or the server went away once; Swarm started it again",
        "nothing, if you know why",
        "`trtspark logs`",
        checks=("service.restarts",),
    ),
    Symptom(
        "`gives no answer (`",
        "it loads, has ended, or something between you and the head blocks the port",
        "what the other checks name; a server that does not load, and answers nothing, is started again by "
        "`pulumi up`",
        "`trtspark logs --follow`",
        checks=("endpoint.answers",),
    ),
    Symptom(
        "`does not answer (` … `although rank 0 runs` (a warning of `preview` and `up`)",
        "rank 0's container runs, and its server does not say what it serves or fails every completion",
        "`pulumi up`, which starts it again, or waits for one that is loading",
        "`trtspark logs`",
    ),
    Symptom(
        "`a short completion took longer than` (a warning of `preview` and `up`)",
        "the server is busy, or it hangs",
        "nothing: rank 0 ends an engine that hangs, and it is started again",
        "`trtspark status`",
    ),
    Symptom(
        "`is paused (`",
        "somebody has run `docker pause` for a rank's container, which Swarm calls running",
        "`pulumi up`, which starts it again",
        "`docker ps` there",
        checks=("ranks.paused",),
    ),
    Symptom(
        "`lists its model but completes nothing`",
        "a worker is gone or hangs, or the engine fails every completion; the text after it is the engine's",
        "wait three minutes: rank 0 ends itself and is started again; else the log",
        "`trtspark logs`",
        checks=("endpoint.completes",),
    ),
    Symptom(
        "`talk over sockets, which is many times slower than RDMA.` (a warning)",
        "NCCL on sockets: no common subnet with an RDMA device, or `transport any`",
        "cable and addresses, then `pulumi up`",
        "`trtspark doctor --full`, `ibdev2netdev` on all",
        checks=("transport.proven",),
    ),
    Symptom(
        "`packets were out of sequence or sent again`, `errors were counted` (warnings of doctor and status)",
        "the cable loses bits, or packets are lost on a switch",
        "push the cable in until it clicks, or use another",
        "`ethtool -S INTERFACE` there",
        checks=("fabric.errors",),
    ),
    Symptom(
        "`packets were lost`, `of its segments again`, `the rail moves nothing` (warnings of the test)",
        "a cable or its plug loses packets, a switch drops them, or a filter does",
        "push the cable in at both ends, or use another; a switch's flow control; the firewall",
        "`ethtool -S INTERFACE` at the receiving end",
        checks=("fabric.test",),
    ),
    Symptom(
        "`do not arrive` … `no TCP connection` … `under half of` (warnings of the test of the cables)",
        "packets of the interface's own MTU are lost on that way; most often a firewall; a slow cable, or "
        "other traffic at that moment",
        "one MTU on both ends; open TCP between the fabric's addresses; another cable",
        "`trtspark doctor --full`, `pulumi stack output fabric`",
        checks=("fabric.test",),
    ),
    Symptom(
        "`a container does not see its GPU`",
        "the NVIDIA runtime is not there or is set up wrongly, or the driver was updated without a reboot",
        AGAIN + "; reboot after an update of the driver",
        "`trtspark doctor --full`",
        checks=("gpu.container", "gpu.found"),
    ),
    Symptom(
        "`the ranks run images of different digests.`, `the ranks do not run the deployed image`",
        "a service was updated by hand",
        AGAIN,
        "`docker service inspect` on the head",
        checks=("image.same",),
    ),
    Symptom(
        "`is no longer in` … `is deployed.`",
        "the model's files were removed, or another revision was fetched by hand",
        AGAIN,
        "`hf cache ls` there",
        checks=("weights.deployed",),
    ),
    Symptom(
        "`threads may only run on CPU` … `, not on all of` (a warning)",
        "a binding policy confines a rank or its threads to a few cores, so decoding and loading are slow",
        AGAIN + "; else look for a binding policy in the image or in `nccl`",
        "`trtspark doctor`",
        checks=("ranks.cores",),
    ),
    Symptom(
        "`is deployed, and` … `is configured.` (a warning)",
        "the configuration was changed since the last `up`",
        "`pulumi up`",
        "`pulumi preview`",
        checks=("stack.applied",),
    ),
)
