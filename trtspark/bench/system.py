"""What a result says of the machines: the stack, the nodes and the client, without a secret."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from cluster import engine
from cluster.config import Settings
from cluster.errors import TrtSparkError
from cluster.facts import Facts
from cluster.parsing import parse
from cluster.redaction import Redaction
from remote import answers, node
from remote.ssh import Connection, Shell, SshShell
from trtspark.bench.results import ClientInfo, SystemInfo

if TYPE_CHECKING:
    from trtspark.bench.places import Deployed

PROBE_TIMEOUT_S = 45
#: Keys that say how we log in, which is nobody's business in a published result.
_PRIVATE = {"hf_token", "ssh_key", "known_hosts"}
_NONE: Mapping[str, str] = {}
_LIBRARIES = ("uvloop", "httptools", "orjson", "tokenizers")
#: Facts that say what the machine is; what identifies it (UUIDs, MACs) or changes all the time stays out.
_FACTS = ("node", "hostname", "gpu_name", "gpus", "driver", "cuda", "memory", "platform", "kernel", "toolkit")


def client() -> ClientInfo:
    """This machine, and the versions of what measures."""
    versions = {"python": platform.python_version(), "trtspark": _version("trtllm-dgx-spark")}
    versions |= {name: _version(name) for name in _LIBRARIES}
    return ClientInfo(
        platform=f"{platform.system()} {platform.machine()}", cores=os.cpu_count() or 1, versions=versions
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def system(stack: Deployed, shell: Callable[[Connection], Shell] = SshShell) -> tuple[SystemInfo, list[str]]:
    """The stack as it is, and a line for each node that could not be looked at."""
    settings, outputs = stack.settings, stack.outputs
    redaction = Redaction(list(stack.secrets.values()))
    facts, problems = probe(settings, stack.connections, shell)
    found = SystemInfo(
        stack=stack.name,
        config=public(settings, stack.secrets),
        engine=told(settings, stack.secrets),
        image=outputs.get("image"),
        revision=outputs.get("revision"),
        transport=redaction.data([str(line) for line in outputs.get("transport") or ()]),
        fabric=redaction.data([str(line) for line in outputs.get("fabric") or ()]),
        nodes=[of_facts(one) for one in facts],
    )
    return found, [redaction.text(one) for one in problems]


def public(settings: Settings, secrets: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """The configuration by the names of its keys, without logins and without what `secrets` has: the values
    that were set with --secret, by their keys. Whatever else looks like a secret is taken out of it, too.
    """
    found = settings.model_dump(mode="json", by_alias=True, exclude=_PRIVATE)
    found["nodes"] = [{"host": one.host, "fabric": [str(a) for a in one.fabric]} for one in settings.nodes]
    kept = {key: value for key, value in found.items() if key not in secrets}
    return dict(Redaction(list(secrets.values())).data(kept))


def told(settings: Settings, secrets: Mapping[str, str] = _NONE) -> dict[str, Any]:
    """What the engine is told, likewise."""
    found = asdict(engine.resolve(settings))
    kept = {key: value for key, value in found.items() if to_camel(key) not in secrets}
    return dict(Redaction(list(secrets.values())).data(kept))


def probe(
    settings: Settings, connections: Sequence[Connection], shell: Callable[[Connection], Shell] = SshShell
) -> tuple[list[Facts], list[str]]:
    """The facts of all nodes that answer, and why the others do not."""
    script = node.program(probe="look")
    command = node.command({"probe": {"hf_cache": settings.hf_cache, "port": settings.port}})

    def ask(connection: Connection) -> Facts | str:
        try:
            done = shell(connection).run(command, stdin=script, timeout=PROBE_TIMEOUT_S)
            if done.code:
                return f"{connection.host}: the probe failed"
            return parse(connection.host, answers.part(done, connection.host, "probe"))
        except (TrtSparkError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor(max(1, len(connections))) as pool:
        found = list(pool.map(ask, connections))
    return [one for one in found if isinstance(one, Facts)], [one for one in found if isinstance(one, str)]


def of_facts(facts: Facts) -> dict[str, Any]:
    """What of a node goes into a result."""
    whole: Mapping[str, Any] = {name: getattr(facts, name) for name in _FACTS}
    docker = {"version": facts.docker.version, "storage": facts.docker.storage}
    hcas = [
        {
            "name": hca.name,
            "interface": hca.netdev,
            "active": hca.active,
            "rate_gbps": hca.rate_gbps,
            "mtu_bytes": hca.mtu,
        }
        for hca in facts.hcas
    ]
    return {**whole, "docker": docker, "hcas": hcas}
