"""One Spark: looked at, and prepared so that Docker hands out its GPU."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_command import remote

from cluster import gpu_clock, preparation
from cluster.fabric_addresses import NodeAddresses
from cluster.facts import Facts
from dynamic_providers.fabric_addresses import FabricAddresses
from dynamic_providers.gpu_clock import GpuClock
from dynamic_providers.gpu_runtime import GpuRuntime
from remote import node
from remote.ssh import Connection

#: The plugin's own retries cost minutes on a wrong address; the look before has found it reachable.
DIAL_ATTEMPTS = 3
DIAL_TIMEOUT_S = 10
NOTHING_SET = NodeAddresses()


@dataclass(frozen=True)
class SparkNodeArgs:
    """A machine's login and what the look before the plan found of it.

    `docker_group`: whether preparing may put the user into group docker; `take_over`: the stack whose machine
    it was, "" for none; `fabric` is of use where the stack sets the fabric's addresses.
    """

    connection: Connection
    facts: Facts
    private_key: str | None
    docker_group: bool = False
    stack: str = ""
    take_over: str = ""
    fabric: NodeAddresses = NOTHING_SET
    clock_limit: int | None = None
    """The cap on the GPU's clock in MHz; None for none."""


def connection_args(args: SparkNodeArgs) -> remote.ConnectionArgs:
    """pulumi-command's own form of a login: the host key pinned, the private key a secret."""
    key = args.private_key
    return remote.ConnectionArgs(
        host=args.connection.host,
        user=args.connection.user,
        port=args.connection.port,
        host_key=args.connection.host_key,
        private_key=pulumi.Output.secret(key) if key else None,
        dial_error_limit=DIAL_ATTEMPTS,
        per_dial_timeout=DIAL_TIMEOUT_S,
    )


def fabric_props(args: SparkNodeArgs) -> dict[str, Any]:
    """The inputs of the node's FabricAddresses."""
    rdma = {hca.netdev for hca in args.facts.hcas if hca.usable}
    addresses = args.fabric.addresses
    return {
        "stack": args.stack,
        "connection": args.connection.as_props(),
        "addresses": {netdev: str(address) for netdev, address in sorted(addresses.items())},
        "file": args.fabric.file,
        "gids": sorted(rdma & set(addresses)),
        "repair": args.fabric.repair,
    }


class SparkNode(pulumi.ComponentResource):
    """Fabric addresses (where the stack sets them), probe, GPU runtime, and the GPU clock's cap, if any.

    `prepared`: the resource to depend on for anything that needs the GPU in Docker.
    """

    def __init__(self, name: str, args: SparkNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """`name` is the node's role: head, worker-1, …"""
        super().__init__("trtspark:index:SparkNode", name, {"host": args.connection.host}, opts)
        self.args = args
        self.connection = connection_args(args)
        # Before all else: applying them interrupts the management network for a moment.
        first: list[pulumi.Resource] = []
        if args.fabric.addresses:
            inside = pulumi.ResourceOptions(parent=self)
            first.append(FabricAddresses(f"{name}-fabric-addresses", fabric_props(args), inside))
        self.probe = remote.Command(
            f"{name}-probe",
            connection=self.connection,
            create=node.command({}),
            stdin=node.program(probe="look"),
            # A cable moved, a GPU or an address changed: the preview shows it, and the machine is
            # probed anew.
            triggers=[json.dumps(args.facts.stable(), sort_keys=True)],
            add_previous_output_in_env=False,
            logging=remote.Logging.NONE,
            opts=pulumi.ResourceOptions(parent=self, depends_on=first),
        )
        self.prepared = GpuRuntime(
            f"{name}-gpu-runtime",
            {
                "stack": args.stack,
                "takeOver": args.take_over,
                "gpu": args.facts.gpu_uuid,
                "connection": args.connection.as_props(),
                "group": args.docker_group,
                "things": preparation.wanted(args.facts),
                "steps": preparation.steps(args.facts),
            },
            pulumi.ResourceOptions(parent=self, depends_on=[self.probe]),
        )
        if args.clock_limit:
            GpuClock(
                f"{name}-gpu-clock",
                {
                    "stack": args.stack,
                    "takeOver": args.take_over,
                    "connection": args.connection.as_props(),
                    "limit": args.clock_limit,
                    "things": gpu_clock.wanted(args.clock_limit),
                    "steps": gpu_clock.steps(args.facts, args.clock_limit),
                },
                pulumi.ResourceOptions(parent=self, depends_on=[self.probe]),
            )
        # What the probe found is its own output: a copy here would be in every checkpoint again.
        self.register_outputs({})
