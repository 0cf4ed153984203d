"""From settings and facts to resources: what __main__ does once it has looked at the machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pulumi

from cluster import fabric, link_report, nccl_test, weights_plan
from cluster.checks.fit import serving_context
from cluster.config import Settings
from cluster.fabric import Fabric
from cluster.plain_text import plain, plain_data
from cluster.weights_plan import ModelFile
from components.spark_node import NOTHING_SET, SparkNode, SparkNodeArgs
from components.swarm_cluster import SwarmCluster
from components.trtllm_deployment import DeploymentArgs, TrtLlmDeployment
from dynamic_providers.fabric_test import FabricTest
from remote.preflight import Look
from remote.ssh import Connection


def deploy(
    stack: str,
    settings: Settings,
    connections: Sequence[Connection],
    look: Look,
    private_key: str | None,
) -> dict[str, Any]:
    """Register every resource of the stack; the stack's outputs by name, harmless to a terminal."""
    active = settings.active_nodes
    network = fabric.plan(look.facts, [node.fabric for node in active], settings.transport)
    for warning in look.warnings:
        pulumi.log.warn(plain(warning))
    for replaced in fabric.overridden(network, settings.nccl):
        pulumi.log.info(plain(f"nccl: {replaced}, on your word"))
    for note in (*look.fabric.notes, *look.notes):
        pulumi.log.info(plain(note))
    parts = look.fabric.nodes or (NOTHING_SET,) * len(active)
    nodes = [
        SparkNode(
            role(index),
            SparkNodeArgs(
                connection,
                facts,
                private_key,
                settings.docker_group,
                stack,
                settings.take_over or "",
                part,
                settings.gpu_clock_limit,
            ),
        )
        for index, (connection, facts, part) in enumerate(zip(connections, look.facts, parts, strict=True))
    ]
    cluster = SwarmCluster("cluster", stack, nodes)
    weights, context = weights_of(settings, network, look), context_of(settings, look)
    cables = Cables(settings, network, look, connections, nodes)
    quick = cables.quick()
    args = DeploymentArgs(
        stack, settings, network, look.revision, weights, look.served(settings), context, cables.full
    )
    deployment = TrtLlmDeployment("trtllm", args, nodes, cluster)
    outputs = {
        "endpoint": deployment.endpoint,
        "model": deployment.model,
        "revision": look.revision,
        "image": deployment.image,
        "nodes": [f"{f.node} ({f.hostname}, {f.gpu_name})" for f in look.facts],
        "transport": deployment.transport,
        "fabric": quick or (cables.tested.fabric if cables.tested else []),
        "readySeconds": deployment.ready_seconds,
        # Without quotes: Pulumi prints those of a string with backslashes, and a paste would send them.
        "tryIt": f"trtspark --stack {stack} chat Hello",
    }
    return {
        name: value.apply(plain_data) if isinstance(value, pulumi.Output) else plain_data(value)
        for name, value in outputs.items()
    }


class Cables:
    """The test of the cables: the quick one early, when little else is busy, and nothing waits for it; the
    full one once the image is there, and the ranks start after it.
    """

    tested: FabricTest | None = None

    def __init__(
        self,
        settings: Settings,
        network: Fabric,
        look: Look,
        connections: Sequence[Connection],
        nodes: Sequence[SparkNode],
    ) -> None:
        """Nothing is registered yet."""
        self._settings, self._network, self._look, self._nodes = settings, network, look, nodes
        self._wires = link_report.wires(network, look.facts)
        self._logins = [one.as_props() for one in connections]

    def quick(self) -> pulumi.Output[list[str]] | None:
        """The quick test's lines; None where there is nothing to test, or the full one is wanted."""
        if not self._wires or self._settings.fabric_test == "full":
            return None
        after = pulumi.ResourceOptions(depends_on=[spark.probe for spark in self._nodes])
        return FabricTest("fabric", self._wires, self._logins, opts=after).fabric

    def full(self, image: pulumi.Output[str], after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Register the full test, where it is wanted; what the ranks have to wait for."""
        if not self._wires or self._settings.fabric_test != "full":
            return []
        head = self._look.facts[0]
        plan = nccl_test.plan(
            self._network, self._settings.nccl, head.listening, self._settings.restrict_containers
        )
        options = pulumi.ResourceOptions(depends_on=list(after))
        needs = {"nccl": plan, "image": image}
        self.tested = FabricTest("fabric", self._wires, self._logins, needs, options)
        return [self.tested]


def weights_of(settings: Settings, network: Fabric, look: Look) -> dict[str, Any]:
    """The inputs of ModelWeights that come from configuration and facts."""
    files: tuple[ModelFile, ...] = ()
    lacking: dict[str, str] = {}
    endpoint = ""
    if look.found:
        resolved = weights_plan.with_digests(look.found.resolved.files, look.caches)
        files, endpoint = resolved.files, resolved.endpoint
        texts = [weights_plan.missing(resolved, cache) for cache in look.caches]
        lacking = {facts.node: text for facts, text in zip(look.facts, texts, strict=True) if text}
    return {
        "endpoint": endpoint,
        "files": [asdict(file) for file in files],
        "extras": weights_plan.vocabularies(settings, look.found.architecture) if look.found else [],
        "fetch": settings.download_weights,
        "halves": [
            [[half.subnet, half.address, half.interface] for half in mine]
            for mine in weights_plan.halves(network, settings.weights.over)
        ],
        "streams": settings.weights.streams or 0,
        "tiktokenFolder": settings.tiktoken.folder or "",
        "deleteOnDestroy": settings.weights.delete_on_destroy,
        "missing": lacking,
    }


def context_of(settings: Settings, look: Look) -> int | None:
    """Tokens of the longest context: by the memory fit where the model's shape is known, else maxSeqLen."""
    if look.found is None or look.found.model is None:
        return settings.max_seq_len
    return serving_context(settings, look.found.model, look.facts)


def role(index: int) -> str:
    """head, worker-1, worker-2, …: a resource's name does not change when a host's does."""
    return "head" if index == 0 else f"worker-{index}"
