"""Parsers: from the raw document that remote/node/probe.py prints to `Facts`. Pure.

Every form of every output that was met is a file in tests/fixtures; README.md there has their sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster import gpu_clock
from cluster.errors import NotPrepared
from cluster.facts import Facts
from cluster.parsing import docker, firewall, gpu, network, rdma, system

FORMAT = 2
#: Of what went wrong, in an error.
SAID_CHARS = 120


def parse(node: str, document: Mapping[str, Any], asked: tuple[float, float] | None = None) -> Facts:
    """Facts from a probe's document; `node` is how the user calls the machine.

    `asked`: the operator's time (seconds since the epoch) before the question and after the answer. What is
    missing or broken on the machine is in the facts. Raises NotPrepared only when the document is not one of
    this version's.
    """
    try:
        return _parsed(node, document, asked)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise NotPrepared(
            node,
            f"the probe's answer cannot be understood ({type(error).__name__}: {str(error)[:SAID_CHARS]}).",
            "Run the same again; if it happens again, report this line.",
        ) from None


def _parsed(node: str, document: Mapping[str, Any], asked: tuple[float, float] | None) -> Facts:
    if document.get("format") != FORMAT:
        raise NotPrepared(
            node,
            f"the probe's answer has format {document.get('format')!r}, not {FORMAT}.",
            "Is the program's checkout whole? Put remote/node/probe.py back as it was.",
        )
    commands, files, port = document["commands"], document["files"], document["asked"].get("port")
    interfaces = network.interfaces(commands["ip-addr"]["out"])
    address, ipv6 = network.reached(document["ssh_connection"], commands["ip-addr"]["out"])
    operator = (document["ssh_connection"].split() or [""])[0]
    management = next((n for n, own in interfaces.items() if any(a.ip == address for a in own)), "")
    hcas = tuple(rdma.hca(raw, document["net"], interfaces) for raw in document["rdma"])
    settings, settings_problem = docker.daemon_json(files["/etc/docker/daemon.json"])
    engine = docker.engine(document["docker"])
    found = gpu.found(commands["nvidia-smi"])
    ram = system.memory(files["/proc/meminfo"] or "")
    return Facts(
        node=node,
        hostname=str(document["hostname"]),
        user=document["user"],
        home=document["home"],
        address=address,
        operator=operator,
        gpu_name=found.name,
        gpu_uuid=found.uuid,
        driver=found.driver,
        docker=engine,
        toolkit=system.toolkit_version(commands["nvidia-ctk"]["out"]),
        hcas=hcas,
        interfaces=interfaces,
        memory=ram.total,
        platform=system.platform(files["/etc/dgx-release"]),
        kernel=(files["/proc/sys/kernel/osrelease"] or "").strip(),
        sudo=commands["sudo"]["rc"] == 0,
        sudo_said=system.last(commands["sudo"]),
        places=system.places(document.get("places") or {}),
        links=dict(document.get("links") or {}),
        daemon_json=settings,
        listening=system.sockets(document["tcp"]),
        ranks=docker.ranks(document["docker"]),
        specs=docker.specs(document["docker"]),
        wanted=docker.wanted(document["docker"]),
        owner=system.owner(files.get("/var/lib/trtspark/gpu-runtime.json")),
        swarm_nodes=dict(document["docker"].get("nodes") or {}),
        configs=dict(document["docker"].get("configs") or {}),
        secrets=dict(document["docker"].get("secrets") or {}),
        rank_access=dict(document.get("rank_access") or {}),
        gpu_problem=found.problem,
        gpus=found.count,
        gpu_processes=gpu.processes(
            commands["nvidia-smi-apps"]["out"], document["gpu_cgroups"], docker.by_id(document["docker"])
        ),
        cuda=gpu.cuda(commands["nvidia-smi-version"]["out"]),
        container_toolkit=system.toolkit(
            commands["nvidia-ctk"]["out"], files["/etc/nvidia-container-runtime/config.toml"]
        ),
        ram=ram,
        disks=system.disks(document["disks"]),
        groups=system.groups(files["/etc/group"] or "", document["user"], document["gid"]),
        clock_offset=system.clock_offset(document, asked),
        firewall=firewall.verdict(
            document,
            firewall.questions(
                interfaces,
                management,
                [h.netdev for h in hcas if h.usable],
                operator,
                port,
                network.ssh_port(document["ssh_connection"]),
            ),
        ),
        ssh_port=network.ssh_port(document["ssh_connection"]) or 22,
        management=management,
        cmdline=(files["/proc/cmdline"] or "").strip(),
        memlock=None if document["memlock"] < 0 else document["memlock"],
        locale=system.locale(files["/etc/default/locale"], document["lang"]),
        clock_limit=gpu_clock.unit_limit(files.get(gpu_clock.UNIT)),
        netplan=tuple(document["netplan"]),
        routes=network.routes(files["/proc/net/route"] or "", interfaces),
        udp=system.sockets(document["udp"]),
        daemon_json_problem=settings_problem,
        daemon_json_unreadable=docker.unreadable(files["/etc/docker/daemon.json"]),
        ipv6=ipv6,
        login_groups=system.login_groups(files["/etc/group"] or "", [document["gid"], *document["gids"]]),
        ntp=None if document["clock_state"] in (None, -1) else document["clock_state"] != system.TIME_ERROR,
        login_output=str(document.get("login_output", "")),
        ibdev2netdev=rdma.ibdev2netdev(commands["ibdev2netdev"]),
    )
