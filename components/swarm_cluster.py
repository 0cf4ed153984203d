"""The Swarm of all nodes, and the head's way into the workers' containers for MPI."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import pulumi

from cluster.service_spec import short, ssh_folder
from cluster.swarm_plan import EXPIRED, astray
from components.spark_node import SparkNode
from dynamic_providers.mpi_key import MpiKey
from dynamic_providers.rank_access import RankAccess
from dynamic_providers.ssh_client import SshClient
from dynamic_providers.swarm import Swarm


def mpi_secret(stack: str) -> str:
    """The Docker secret that holds the MPI key's private half."""
    return f"trtspark-{short(stack)}-mpi-key"


class SwarmCluster(pulumi.ComponentResource):
    """Swarm, MPI key on the head, one forced command on each worker.

    `ready`: the resources to depend on for anything that runs in the Swarm.
    """

    swarm_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        stack: str,
        nodes: Sequence[SparkNode],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`nodes` head first."""
        super().__init__("trtspark:index:SwarmCluster", name, {"nodes": len(nodes)}, opts)
        swarm = Swarm(
            f"{name}-swarm",
            stack,
            [
                {
                    "name": spark.args.connection.host,
                    "address": str(spark.args.facts.address),
                    "gpu": spark.args.facts.gpu_uuid,
                    "connection": spark.args.connection.as_props(),
                }
                for spark in nodes
            ],
            [s.args.connection.host for s in nodes if EXPIRED in s.args.facts.docker.swarm.error],
            astray(
                stack,
                {s.args.connection.host: s.args.facts.docker.swarm.node_id for s in nodes},
                nodes[0].args.facts.swarm_nodes,
            ),
            nodes[0].args.take_over,
            pulumi.ResourceOptions(parent=self, depends_on=[spark.prepared for spark in nodes]),
        )
        self.ready: list[pulumi.Resource] = [swarm]
        if len(nodes) > 1:
            self.ready += self._rank_access(name, stack, nodes, swarm)
        self.swarm_id = swarm.swarm_id
        self.register_outputs({"swarmId": self.swarm_id})

    def _rank_access(
        self, name: str, stack: str, nodes: Sequence[SparkNode], swarm: Swarm
    ) -> list[pulumi.Resource]:
        head, workers = nodes[0], nodes[1:]
        secret = mpi_secret(stack)
        key = MpiKey(
            f"{name}-mpi-key",
            {
                "name": secret,
                "stack": stack,
                "manager": head.args.connection.as_props(),
                "found": head.args.facts.secrets.get(secret, ""),
            },
            pulumi.ResourceOptions(parent=self, depends_on=[swarm]),
        )
        script = resources.files("remote.node").joinpath("rank_exec.sh").read_text("utf-8")
        access = [
            RankAccess(
                f"{name}-rank-access-{index}",
                {
                    "stack": stack,
                    "takeOver": worker.args.take_over,
                    "connection": worker.args.connection.as_props(),
                    "key": key.public,
                    "sources": ",".join(map(str, head.args.facts.own_addresses)),
                    "script": script,
                    "found": worker.args.facts.rank_access.get(stack, ""),
                },
                pulumi.ResourceOptions(parent=self),
            )
            for index, worker in enumerate(workers, start=1)
        ]
        client = SshClient(
            f"{name}-ssh-client",
            ssh_folder(stack),
            head.args.connection.as_props(),
            pulumi.ResourceOptions(parent=self, depends_on=[head.probe]),
        )
        return [key, client, *access]
