"""One Spark: looked at, and prepared so that Docker hands out its GPU."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
from pulumi_command import remote

from cluster.facts import Facts
from remote import node
from remote.ssh import Connection

#: The plugin's own retries cost minutes on a wrong address; the look before has found it reachable.
DIAL_ATTEMPTS = 3
DIAL_TIMEOUT_S = 10


@dataclass(frozen=True)
class SparkNodeArgs:
    """A machine's login and what the look before the plan found of it."""

    connection: Connection
    facts: Facts
    private_key: str | None


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


class SparkNode(pulumi.ComponentResource):
    """Probe and GPU runtime of one node.

    `facts`: the probe's JSON document, as found when the machine last changed. `prepared`: the resource
    to depend on for anything that needs the GPU in Docker.
    """

    facts: pulumi.Output[str]

    def __init__(self, name: str, args: SparkNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """`name` is the node's role: head, worker-1, …"""
        super().__init__("trtspark:index:SparkNode", name, {"host": args.connection.host}, opts)
        self.args = args
        self.connection = connection_args(args)
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
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.prepared = remote.Command(
            f"{name}-gpu-runtime",
            connection=self.connection,
            create=node.command({"gpu_runtime": {"action": "apply", "gpu": args.facts.gpu_uuid}}),
            delete=node.command({"gpu_runtime": {"action": "restore"}}),
            stdin=node.program(gpu_runtime="main"),
            add_previous_output_in_env=False,
            logging=remote.Logging.NONE,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.probe]),
        )
        self.facts = self.probe.stdout
        self.register_outputs({"facts": self.facts})
