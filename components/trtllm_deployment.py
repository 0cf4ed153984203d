"""The model's server: image, weights, one Swarm service per rank, and the gate that says it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_docker as docker

from cluster import engine, fabric, kernel_cache, launch, least_privilege, transport
from cluster.config import Settings
from cluster.errors import PlanError
from cluster.fabric import Fabric
from cluster.image import agreed
from cluster.image_table import Served
from cluster.image_table import use as image_use
from cluster.service_spec import (
    AGENT_STUB,
    HOME,
    MAX_RESTARTS,
    NOTHING,
    File,
    Rank,
    object_name,
    rank_service,
    seen,
    service_name,
    snapshot_folder,
    ssh_folder,
)
from components.spark_node import SparkNode
from components.swarm_cluster import SwarmCluster, mpi_secret
from dynamic_providers.endpoint import Endpoint
from dynamic_providers.image_pull import ImagePull
from dynamic_providers.model_weights import ModelWeights
from dynamic_providers.rank_program import RankProgram
from dynamic_providers.serving_image import ServingImage
from dynamic_providers.swarm_service import SwarmService
from remote import rank0
from remote.node import cache_folder
from remote.rank0.main import OPTIONS_PATH
from remote.ssh import options

PROGRAM_PATH = f"{HOME}/rank0.pyz"
#: remote/rank0/files.py knows what is in it.
SSH_PATH = f"{HOME}/ssh"
#: What rank 0 needs to end its ranks once its clients are drained.
STOP_MARGIN_S = 5
#: As remote/image_pull.py's.
PULL_LIMIT = "24h"


@dataclass(frozen=True)
class DeploymentArgs:
    """Everything decided before: settings, the network of the ranks, the model's revision, its files
    (inputs of ModelWeights), and the tokens of the longest context (None: the engine's choice).
    """

    stack: str
    settings: Settings
    fabric: Fabric
    revision: str
    weights: Mapping[str, Any]
    served: Served
    context: int | None = None
    before_ranks: Callable[[pulumi.Output[str], Sequence[pulumi.Resource]], list[pulumi.Resource]] | None = (
        None
    )
    """Given the image and what says that it is on every node: registers what the ranks start after."""

    @property
    def asked(self) -> engine.Engine:
        """The engine's settings, with the context as it was decided."""
        return replace(engine.resolve(self.settings, self.served.architecture), max_seq_len=self.context)

    @property
    def weights_bytes(self) -> int:
        """What the ranks load together; 0 where the files are not known."""
        files = self.weights["files"]
        return sum(file["size"] for file in files if file["path"].endswith(".safetensors"))


class TrtLlmDeployment(pulumi.ComponentResource):
    """One endpoint. Outputs: endpoint, image, ready_seconds, transport."""

    endpoint: str
    image: pulumi.Output[str]
    model: pulumi.Output[str] | str = ""
    ready_seconds: pulumi.Output[float] | None = None
    transport: pulumi.Output[list[str]] | None = None

    def __init__(
        self,
        name: str,
        args: DeploymentArgs,
        nodes: Sequence[SparkNode],
        cluster: SwarmCluster,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`nodes` head first, as in `cluster`."""
        settings = args.settings
        super().__init__("trtspark:index:TrtLlmDeployment", name, {"model": settings.model}, opts)
        self.name, self.args, self.nodes, self.cluster = name, args, nodes, cluster
        head = nodes[0].args.facts
        self.endpoint = f"http://{head.address}:{settings.port}"
        # The head's digest is everybody's: the docker plugin, whose errors are not ours, is used there alone.
        self.image = self._image(self._engine_of(nodes[0], 0))
        weights = ModelWeights(
            f"{name}-weights",
            {
                **args.weights,
                "stack": args.stack,
                "model": settings.model,
                "revision": args.revision,
                "hfCache": settings.hf_cache,
                "connections": [spark.args.connection.as_props() for spark in nodes],
            },
            pulumi.ResourceOptions(parent=self),
        )
        checked = ServingImage(
            f"{name}-image-check",
            self.image,
            [spark.args.connection.as_props() for spark in nodes],
            image_use(settings, [spark.args.facts for spark in nodes], args.served),
            pulumi.ResourceOptions(parent=self, depends_on=[spark.prepared for spark in nodes]),
        )
        ready: list[pulumi.Resource] = [
            checked,
            *(args.before_ranks(self.image, [checked]) if args.before_ranks else []),
        ]
        # The models' folder has to be on a node before a container can have it.
        workers = self._workers([weights, *ready])
        program = self._program()
        server = self._server(workers, [program, weights, *ready])
        if settings.running:
            self._endpoint_of(server)
        self.register_outputs({"endpoint": self.endpoint, "model": settings.model})

    def _engine_of(self, spark: SparkNode, index: int) -> docker.Provider:
        login = spark.args.connection
        return docker.Provider(
            f"{self.name}-docker-{index}",
            host=f"ssh://{login.user}@{login.host}:{login.port}",
            ssh_opts=options(login),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _image(self, provider: docker.Provider) -> pulumi.Output[str]:
        """The image by digest, as the head has it; by name when it is not ours to pull."""
        if not self.args.settings.pull_image:
            return pulumi.Output.from_input(self.args.settings.image)
        pulls = [
            ImagePull(
                f"{self.name}-pull-{index}",
                self.args.stack,
                self.args.settings.image,
                spark.args.connection.as_props(),
                spark.args.facts.docker.image_known and spark.args.facts.docker.image is None,
                pulumi.ResourceOptions(parent=self, depends_on=[spark.prepared]),
            )
            for index, spark in enumerate(self.nodes)
        ]
        image = docker.RemoteImage(
            f"{self.name}-image-0",
            name=self.args.settings.image,
            # 30 GB that the next `up` wants again; `docker image rm` is the owner's.
            keep_locally=True,
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=provider,
                depends_on=[pulls[0]],
                # The plugin's own limit, 20 minutes, is too short for a pull, should it come to one here.
                custom_timeouts=pulumi.CustomTimeouts(create=PULL_LIMIT, update=PULL_LIMIT),
            ),
        )
        hosts = [spark.args.connection.host for spark in self.nodes]
        # All must be there before any rank starts; the head's digest is everybody's. The plugin's comes last:
        # of an image with several names it may give another one's.
        return pulumi.Output.all(*[pull.digest for pull in pulls], image.repo_digest).apply(
            lambda digests: self._agreed([*hosts, hosts[0]], [str(digest) for digest in digests])
        )

    def _agreed(self, hosts: Sequence[str], digests: Sequence[str]) -> str:
        try:
            return agreed(self.args.settings.image, hosts, digests)
        except PlanError as error:
            raise pulumi.RunError(str(error)) from None

    def _program(self) -> RankProgram:
        name = object_name(self.args.stack, "program", rank0.program())
        props = {
            "name": name,
            "stack": self.args.stack,
            "manager": self.nodes[0].args.connection.as_props(),
            "found": self.nodes[0].args.facts.configs.get(name, ""),
        }
        return RankProgram(
            f"{self.name}-program",
            props,
            pulumi.ResourceOptions(parent=self, depends_on=self.cluster.ready),
        )

    def _launch_env(self) -> dict[str, str]:
        """What rank 0's program is told. In the environment, not in Swarm configs: those cannot change, and
        the one of a server that comes back after a failed switch must still be there.
        """
        settings = self.args.settings
        logins = [
            launch.Login(s.args.connection.user, s.args.connection.port, s.args.connection.host_key)
            for s in self.nodes
        ]
        asked = self.args.asked
        kernels = kernel_cache.key(
            settings.model, self.args.revision, asked.tensor_parallel, asked.pipeline_parallel
        )
        return {
            "TRTSPARK_LAUNCH": launch.launch_file(
                self.args.fabric, logins, settings.drain_seconds, self.args.weights_bytes, kernels
            ),
            "TRTSPARK_ENGINE_OPTIONS": engine.options_file(asked),
        }

    def _rank(self, index: int, env: Mapping[str, str] | None = None, **more: Any) -> Rank:
        facts, settings = self.nodes[index].args.facts, self.args.settings
        return Rank(
            stack=self.args.stack,
            rank=index,
            hf_cache=cache_folder.expand(settings.hf_cache, facts.home),
            privileges=self._privileges(index),
            env={
                **fabric.environment(self.args.fabric, index, settings.nccl),
                **engine.environment(self.args.asked),
                **(env or {}),
            },
            running=settings.running,
            **more,
        )

    def _privileges(self, index: int) -> least_privilege.Privileges:
        if not self.args.settings.restrict_containers:
            return least_privilege.DOCKERS
        engines = [self.nodes[one].args.facts.docker for one in (0, index)]
        return least_privilege.of_rank(None if index else self.args.settings.port, engines)

    def _workers(self, ready: Sequence[pulumi.Resource]) -> list[tuple[dict[str, Any], SwarmService]]:
        """A worker's container only waits: mpirun runs the rank inside it. Nothing of the model is here."""
        found = []
        for index in range(1, len(self.nodes)):
            props = {
                **self._props(index, rank_service(self._rank(index, command=["bash", "-c", AGENT_STUB]))),
                # Drained before this rank's container is replaced.
                "server": {
                    "name": service_name(self.args.stack, 0),
                    "node": self.nodes[0].args.connection.as_props(),
                },
            }
            found.append((props, self._service(index, props, ready)))
        return found

    def _props(self, index: int, spec: dict[str, Any]) -> dict[str, Any]:
        rank = (self.args.stack, str(index))
        running = self.nodes[index].args.facts.specs.get(rank, NOTHING)
        return {
            "spec": spec,
            "image": self.image,
            "manager": self.nodes[0].args.connection.as_props(),
            "node": self.nodes[index].args.connection.as_props(),
            "found": seen(running, self.nodes[0].args.facts.wanted.get(rank)),
        }

    def _server_spec(self) -> dict[str, Any]:
        settings = self.args.settings
        head = self.nodes[0].args.facts
        revision = self.args.revision
        snapshot = snapshot_folder(settings.model, revision) if revision else ""
        words = engine.serve_command(self.args.asked, head.address, OPTIONS_PATH, snapshot)
        several = len(self.nodes) > 1
        return rank_service(
            self._rank(
                0,
                self._launch_env(),
                # bash, because part of the image's environment is set in its start-up file.
                command=["bash", "-c", 'exec python3 "$0" "$@"', PROGRAM_PATH],
                args=words,
                configs=[
                    File(object_name(self.args.stack, "program", rank0.program()), PROGRAM_PATH),
                ],
                folders=({SSH_PATH: f"{head.home}/{ssh_folder(self.args.stack)}"} if several else {}),
                secrets=([File(mpi_secret(self.args.stack), "trtspark-mpi-key", 0o400)] if several else []),
                labels={"trtspark.port": str(settings.port), "trtspark.revision": self.args.revision},
                vocabularies=bool(self.args.weights["extras"]),
                stop_grace_s=settings.drain_seconds + STOP_MARGIN_S,
                max_restarts=MAX_RESTARTS,
            )
        )

    def _server(
        self, workers: Sequence[tuple[dict[str, Any], SwarmService]], after: Sequence[pulumi.Resource]
    ) -> SwarmService:
        """Rank 0: with what proves it, and with the other ranks as they belong to it."""
        belonging = [
            {key: props[key] for key in ("spec", "image", "node")} | {"applied": service.applied}
            for props, service in workers
        ]
        props = {
            **self._props(0, self._server_spec()),
            "gate": self._gate() if self.args.settings.running else {},
            "workers": belonging,
        }
        return self._service(0, props, [*after, *(service for _, service in workers)])

    def _service(self, index: int, props: dict[str, Any], after: Sequence[pulumi.Resource]) -> SwarmService:
        return SwarmService(
            f"{self.name}-rank-{index}",
            props,
            pulumi.ResourceOptions(parent=self, depends_on=[*self.cluster.ready, *after]),
        )

    def _gate(self) -> dict[str, Any]:
        """What remote/readiness.py waits for and proves."""
        settings = self.args.settings
        return {
            "url": self.endpoint,
            "model": settings.model,
            "transport": transport.required(self.args.fabric, settings.nccl),
            "network": transport.network(
                self.args.fabric, [spark.args.facts for spark in self.nodes], settings.nccl
            ),
            "connections": [spark.args.connection.as_props() for spark in self.nodes],
            "ncclDebug": transport.debug(settings.nccl),
            "service": service_name(self.args.stack, 0),
            "manager": self.nodes[0].args.connection.as_props(),
            "timeout": settings.ready_timeout or 0,
            "bytes": self.args.weights_bytes,
        }

    def _endpoint_of(self, server: SwarmService) -> None:
        found = Endpoint(
            f"{self.name}-endpoint",
            {"url": self.endpoint, "model": self.args.settings.model, "applied": server.applied},
            pulumi.ResourceOptions(parent=self, depends_on=[server]),
        )
        self.model = found.model
        self.ready_seconds, self.transport = server.ready_seconds, server.proven_transport
