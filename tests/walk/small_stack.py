"""The stack's resources that change machines' Swarms, as the components register them.

Not here: image, weights, the fabric (they have tests of their own), and the real specs' long environments. Of
preparing Docker only the record of whose machine it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.errors import TrtSparkError
from cluster.facts import Facts
from cluster.service_spec import NOTHING, File, Rank, object_name, rank_service, seen, service_name
from cluster.swarm_plan import astray
from components.swarm_cluster import mpi_secret
from dynamic_providers import base
from dynamic_providers.endpoint import EndpointProvider
from dynamic_providers.gpu_runtime import GpuRuntimeProvider
from dynamic_providers.mpi_key import MpiKeyProvider
from dynamic_providers.rank_access import RankAccessProvider
from dynamic_providers.rank_program import RankProgramProvider
from dynamic_providers.swarm import SwarmProvider
from dynamic_providers.swarm_service import SwarmServiceProvider
from remote import rank0
from tests import samples
from tests.walk.machines import HOSTS, Machines, refusals
from tests.walk.pulumi_model import Pulumi, Registered

Props = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """What a person configures."""

    model: str = "lab/a"
    count: int = 2
    head_only: bool = False
    running: bool = True
    port: int = 8355
    image: str = "release@sha256:1"
    take_over: str = ""
    turned: bool = False
    """Whether the workers are listed the other way round: of two, the third machine is the worker then."""

    @property
    def all_hosts(self) -> tuple[str, ...]:
        """The machines that are listed, head first."""
        order = (HOSTS[0], *reversed(HOSTS[1:])) if self.turned else HOSTS
        return order[: self.count]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines that serve."""
        return self.all_hosts[: 1 if self.head_only else self.count]


class Stack:
    """One stack: its configuration, its state, and the commands a person runs."""

    def __init__(self, machines: Machines, name: str = "dgx") -> None:
        self.machines, self.name, self.config = machines, name, Config()
        self.pulumi = Pulumi()

    def program(self) -> list[Registered]:
        """Look at the machines and register everything. Raises TrtSparkError where the preview would."""
        config = self.config
        facts = self.machines.look(config.hosts)
        if failed := refusals(self.name, config.count, facts, config.take_over):
            raise TrtSparkError("\n".join(map(str, failed)))
        known = samples.connections(len(HOSTS))
        logins = [known[HOSTS.index(host)].as_props() for host in config.hosts]
        stack = {"stack": self.name, "takeOver": config.take_over}
        nodes = [
            {"name": f.node, "address": str(f.address), "gpu": f"GPU-{f.node}", "connection": login}
            for f, login in zip(facts, logins, strict=True)
        ]
        outside = astray(self.name, {f.node: f.docker.swarm.node_id for f in facts}, facts[0].swarm_nodes)
        found = [
            Registered(f"runtime-{index}", GpuRuntimeProvider(), lambda _, props=props: props)  # type: ignore[misc]
            for index, props in enumerate(self._prepared(facts, logins))
        ]
        found.append(
            Registered(
                "swarm",
                SwarmProvider(),
                lambda _: {**stack, "nodes": nodes, "expired": [], "outside": outside},
            )
        )
        if len(nodes) > 1:
            secret = mpi_secret(self.name)
            key = {
                "name": secret,
                "stack": self.name,
                "manager": logins[0],
                "found": facts[0].secrets.get(secret, ""),
            }
            found.append(Registered("key", MpiKeyProvider(), lambda _: key))
            found += [
                Registered(
                    f"access-{index}",
                    RankAccessProvider(),
                    lambda outs, login=login, one=one: {  # type: ignore[misc]
                        **stack,
                        "connection": login,
                        "key": outs["key"]["public"],
                        "sources": str(facts[0].address),
                        "script": "#!/bin/sh @STACK@",
                        "found": one.rank_access.get(self.name, ""),
                    },
                )
                for index, (login, one) in enumerate(zip(logins[1:], facts[1:], strict=True), start=1)
            ]
        program = object_name(self.name, "program", rank0.program())
        found.append(
            Registered(
                "program",
                RankProgramProvider(),
                lambda _: {
                    "name": program,
                    "stack": self.name,
                    "manager": logins[0],
                    "found": facts[0].configs.get(program, ""),
                },
            )
        )
        return found + self._ranks(facts, logins, program)

    def _prepared(self, facts: list[Facts], logins: list[Props]) -> list[Props]:
        return [
            {
                "stack": self.name,
                "takeOver": self.config.take_over,
                "gpu": f"GPU-{one.node}",
                "connection": login,
                "group": False,
                "things": {"owner": self.name},
                "steps": [] if one.owner == self.name else ["prepare"],
            }
            for one, login in zip(facts, logins, strict=True)
        ]

    def _ranks(self, facts: list[Facts], logins: list[Props], program: str) -> list[Registered]:
        config, several = self.config, len(facts) > 1
        server = {"name": service_name(self.name, 0), "node": logins[0]}
        plain = {"stack": self.name, "hf_cache": "/hf", "env": {}, "running": config.running}
        specs = [
            rank_service(
                Rank(
                    rank=0,
                    command=["serve"],
                    args=[config.model, str(len(facts)), str(config.port)],
                    configs=[File(program, "/opt/trtspark/rank0.pyz")],
                    secrets=[File(mpi_secret(self.name), "trtspark-mpi-key", 0o400)] if several else [],
                    **plain,
                )
            ),
            *(rank_service(Rank(rank=index, command=["wait"], **plain)) for index in range(1, len(facts))),
        ]

        def props(index: int) -> Props:
            rank = (self.name, str(index))
            return {
                "spec": specs[index],
                "image": config.image,
                "manager": logins[0],
                "node": logins[index],
                "found": seen(facts[index].specs.get(rank, NOTHING), facts[0].wanted.get(rank)),
            }

        workers = [
            Registered(
                f"rank-{index}",
                SwarmServiceProvider(),
                lambda _, index=index: {**props(index), "server": server},  # type: ignore[misc]
            )
            for index in range(1, len(facts))
        ]
        gate = {
            "url": f"http://{HOSTS[0]}:{config.port}",
            "model": config.model,
            "transport": "any",
            "network": [],
            "timeout": 0,
            "bytes": 1,
            "connections": logins,
        }
        found = [
            *workers,
            Registered(
                "rank-0",
                SwarmServiceProvider(),
                lambda outs: {
                    **props(0),
                    "gate": gate if config.running else {},
                    "workers": [
                        {
                            **{key: props(i)[key] for key in ("spec", "image", "node")},
                            "applied": outs[f"rank-{i}"]["applied"],
                        }
                        for i in range(1, len(facts))
                    ],
                },
            ),
        ]
        if config.running:
            found.append(
                Registered(
                    "endpoint",
                    EndpointProvider(),
                    lambda outs: {
                        "url": gate["url"],
                        "model": config.model,
                        "applied": outs["rank-0"]["applied"],
                    },
                )
            )
        return found

    def listed(self) -> None:
        """A new process of the providers, which learns which hosts are configured."""
        base._LISTED.update(hosts=set(self.config.hosts), all=set(self.config.all_hosts))

    def up(self) -> list[str]:
        """`pulumi up`; what it did."""
        self.listed()
        self.pulumi.said = []
        self.pulumi.up(self.program())
        return self.pulumi.said

    def destroy(self) -> None:
        """`pulumi destroy`."""
        self.listed()
        self.pulumi.destroy()
