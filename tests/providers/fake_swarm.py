"""A small stand-in for several Docker engines and the Swarm they may form: what our providers use."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import requests
from docker.errors import APIError, NotFound

IMAGE = "release@sha256:1"


def refused(status: int, text: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return (NotFound if status == 404 else APIError)(text, response=response, explanation=text)


def _uses(spec: dict[str, Any], kind: str, name: str) -> bool:
    container = spec.get("TaskTemplate", {}).get("ContainerSpec", {})
    return any(one[f"{kind}Name"] == name for one in container.get(f"{kind}s") or [])


#: How often a live Swarm is asked before it ends a container that its service no longer wants.
SLOW = 1


def _task(service: dict[str, Any]) -> str:
    return json.dumps(service["Spec"]["TaskTemplate"], sort_keys=True)


class Swarm:
    """What the manager knows: nodes, services, configs and secrets."""

    def __init__(self, number: int) -> None:
        self.id = f"swarm-{number}"
        self.manager = self.first = ""
        self.labels: dict[str, str] = {}
        self.version = 1
        self.nodes: dict[str, dict[str, Any]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        """What Swarm means to run, for the tests that care; it starts and ends nothing by itself."""
        self.configs: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.object_labels: dict[str, dict[str, str]] = {}
        """Of configs and secrets, by id."""


class Engines:
    """All machines, by host; `dial` stands in for remote.engine.connect.

    `live`: whether the Swarms start and end containers as their services say (`settle`); else tests do.
    """

    def __init__(self, *hosts: str, live: bool = False) -> None:
        self.live = live
        self.numbers = itertools.count(1)
        self.engines = {host: Engine(self, host) for host in hosts}
        self.unreachable: dict[str, Exception] = {}
        self.undone: list[tuple[str, str, str]] = []
        """By a shell: (host, stack, by what)."""

    def dial(self, connection: Any) -> Engine:
        if connection.host in self.unreachable:
            raise self.unreachable[connection.host]
        return self.engines[connection.host]

    def __getitem__(self, host: str) -> Engine:
        return self.engines[host]

    def settle(self) -> None:
        """Swarm comes a step nearer to what its services say. It takes its time to end a container."""
        if not self.live:
            return
        for engine in self.engines.values():
            swarm = engine.swarm
            if swarm is None or not swarm.manager:
                continue  # without a manager, what runs goes on running
            wanted = {s["ID"]: s for s in swarm.services.values() if engine.fits(s)}
            for container, (service, task) in list(engine.task_of.items()):
                if container not in engine.running:
                    continue
                if service in wanted and task == _task(wanted[service]):
                    continue
                engine.stale[container] = engine.stale.get(container, 0) + 1
                if engine.stale[container] > SLOW:
                    engine.ended[container] = engine.running.pop(container)
            for service, found in wanted.items():
                if not any(one in engine.running for one in engine.task_of):
                    engine.start(service, found)


class Engine:
    """One machine's engine: the methods of docker.APIClient that are used, and their errors."""

    def __init__(self, world: Engines, host: str) -> None:
        self.world, self.host = world, host
        self.swarm: Swarm | None = None
        self.node_id = ""
        self.running: dict[str, dict[str, str]] = {}
        self.ended: dict[str, dict[str, str]] = {}
        self.images: dict[str, str] = {}
        """What a container was started from, where it is not IMAGE."""
        self.volumes: dict[str, dict[str, str]] = {}
        """Labels by name; of which a container of the label's stack uses the volume."""
        self.gpu = f"GPU-{host}"
        self.paused: set[str] = set()
        self.started: dict[str, int] = {}
        """Seconds past 12:00 at which a container was started, where they are not 0; now it is 12:01."""
        self.deaf: set[str] = set()  # containers that do not end at SIGTERM
        self.signals: list[tuple[str, str]] = []
        self.expired = False
        """Whether its certificate ran out while it was off."""
        self.restarted = False
        """Whether its Docker was started since it joined: then a node that was removed is never active."""
        self.bridges: set[str] = set()
        self.task_of: dict[str, tuple[str, str]] = {}
        """Of containers that the Swarm started: the service's id, and its task's text then."""
        self.stale: dict[str, int] = {}
        """Of those that the Swarm is about to end: how often it was asked since."""
        self.bridge_in_use = 0
        """How often Docker refuses to remove its bridge, after it has left a Swarm."""
        self.pending = 0
        """How often it still says so after that, before it is in touch with its manager."""

    # membership

    def info(self) -> dict[str, Any]:
        return {**self._info(), "SystemTime": "2026-11-28T12:01:00.123456789Z"}

    def _info(self) -> dict[str, Any]:
        if self.swarm is None:
            return {"Swarm": {"LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": False}}
        if self.expired:
            said = "error while loading TLS certificate: x509: certificate has expired or is not yet valid"
            return {
                "Swarm": {"LocalNodeState": "error", "NodeID": "", "ControlAvailable": False, "Error": said}
            }
        manager = self.swarm.manager == self.host
        removed = self.restarted and self.node_id not in self.swarm.nodes
        self.pending -= bool(self.pending)
        state = "pending" if removed or self.pending else "active"
        found = {"LocalNodeState": state, "NodeID": self.node_id, "ControlAvailable": manager}
        return {
            "Swarm": {
                **found,
                "NodeAddr": self.host,
                "Cluster": {"ID": self.swarm.id} if manager else None,
                "RemoteManagers": [{"NodeID": "", "Addr": f"{self.swarm.first}:2377"}],
            }
        }

    def create_swarm_spec(self, **spec: Any) -> dict[str, Any]:
        return spec

    def init_swarm(self, advertise_addr: str, listen_addr: str, swarm_spec: dict[str, Any]) -> None:
        if self.swarm is not None:
            raise refused(503, "This node is already part of a swarm.")
        self._enter(Swarm(next(self.world.numbers)))
        assert self.swarm is not None
        self.swarm.manager = self.swarm.first = self.host
        self.swarm.labels = dict(swarm_spec.get("labels") or {})

    def join_swarm(
        self, remote_addrs: list[str], join_token: str, advertise_addr: str, listen_addr: str
    ) -> None:
        there = self.world[remote_addrs[0].rpartition(":")[0]].swarm
        if self.swarm is not None or there is None or join_token != f"token-{there.id}":
            raise refused(503, "This node is already part of a swarm, or the token is wrong.")
        self._enter(there)

    def leave_swarm(self, force: bool) -> None:
        if self.swarm is None:
            raise refused(503, "This node is not part of a swarm")
        if self.swarm.manager == self.host:
            self.swarm.manager = ""
        if self.node_id in self.swarm.nodes:  # its manager may have forgotten it
            self.swarm.nodes[self.node_id]["Status"]["State"] = "down"
        for container in self.task_of:  # as Docker does
            self.running.pop(container, None)
            self.ended.pop(container, None)
        self.task_of, self.stale = {}, {}
        self.swarm, self.node_id, self.expired, self.restarted = None, "", False, False

    def networks(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"Name": name} for name in names if name in self.bridges]

    def remove_network(self, name: str) -> None:
        if name not in self.bridges:
            raise refused(404, "no such network")
        if self.bridge_in_use:
            self.bridge_in_use -= 1
            raise refused(403, "network docker_gwbridge has active endpoints")
        self.bridges.remove(name)

    def _enter(self, swarm: Swarm) -> None:
        self.bridges.add("docker_gwbridge")
        self.swarm, self.node_id = swarm, f"node-{next(self.world.numbers)}"
        resource = {"NamedResourceSpec": {"Kind": "NVIDIA_GPU", "Value": self.gpu}}
        swarm.nodes[self.node_id] = {
            "ID": self.node_id,
            "Version": {"Index": 1},
            "Spec": {"Labels": {}, "Role": "worker", "Availability": "active"},
            "Status": {"State": "ready"},
            "Description": {"Hostname": self.host, "Resources": {"GenericResources": [resource]}},
        }

    def managed(self) -> Swarm:
        if self.swarm is None or self.swarm.manager != self.host or self.expired:
            raise refused(503, "This node is not a swarm manager.")
        return self.swarm

    def inspect_swarm(self) -> dict[str, Any]:
        swarm = self.managed()
        return {
            "ID": swarm.id,
            "Version": {"Index": swarm.version},
            "JoinTokens": {"Worker": f"token-{swarm.id}"},
            "Spec": {"Name": "default", "Labels": dict(swarm.labels)},
        }

    def update_swarm(self, version: int, swarm_spec: dict[str, Any]) -> None:
        swarm = self.managed()
        if version != swarm.version:
            raise refused(500, "rpc error: update out of sequence")
        swarm.labels, swarm.version = dict(swarm_spec["Labels"]), version + 1

    # nodes

    def nodes(self) -> list[dict[str, Any]]:
        return copy.deepcopy(list(self.managed().nodes.values()))

    def inspect_node(self, node_id: str) -> dict[str, Any]:
        if node_id not in self.managed().nodes:
            raise refused(404, f"node {node_id} not found")
        return copy.deepcopy(self.managed().nodes[node_id])

    def update_node(self, node_id: str, version: int, node_spec: dict[str, Any]) -> None:
        entry = self.managed().nodes[node_id]
        if version != entry["Version"]["Index"]:
            raise refused(500, "rpc error: update out of sequence")
        entry["Spec"], entry["Version"]["Index"] = copy.deepcopy(node_spec), version + 1

    def remove_node(self, node_id: str, force: bool) -> None:
        if self.managed().nodes.pop(node_id, None) is None:
            raise refused(404, f"node {node_id} not found")

    def labels(self) -> dict[str, str]:
        """This machine's labels as the Swarm has them, for the tests."""
        assert self.swarm is not None
        found: dict[str, str] = self.swarm.nodes[self.node_id]["Spec"]["Labels"]
        return found

    # tasks of a live Swarm

    def fits(self, service: dict[str, Any]) -> bool:
        """Whether a service's one task belongs on this machine."""
        swarm, spec = self.swarm, service["Spec"]
        if swarm is None or self.node_id not in swarm.nodes or self.expired:
            return False
        node = swarm.nodes[self.node_id]
        mine = {f"node.labels.{key}=={value}" for key, value in node["Spec"]["Labels"].items()}
        asked = set(spec["TaskTemplate"].get("Placement", {}).get("Constraints") or [])
        up = node["Status"]["State"] == "ready" and spec["Mode"]["Replicated"]["Replicas"]
        given_up = service.get("given_up") == _task(service)
        return bool(up and asked and asked <= mine and not given_up)

    def start(self, service: str, found: dict[str, Any]) -> None:
        """Start a service's task; the machine has one GPU, so nothing else of the Swarm's runs here."""
        spec = found["Spec"]["TaskTemplate"]["ContainerSpec"]
        container = f"{service}.{next(self.world.numbers)}"
        self.running[container] = dict(spec["Labels"])
        self.images[container] = spec["Image"]
        self.task_of[container] = (service, _task(found))
        for mount in spec["Mounts"]:
            if mount["Type"] == "volume":
                self.volumes.setdefault(mount["Source"], dict(mount["VolumeOptions"]["Labels"]))

    # services

    def services(self, filters: dict[str, str] | None = None) -> list[dict[str, Any]]:
        found = list(self.managed().services.values())
        if filters:
            key, _, value = filters["label"].partition("=")
            found = [one for one in found if (one["Spec"].get("Labels") or {}).get(key) == value]
        return copy.deepcopy(found)

    def create_config(self, name: str, data: bytes, labels: dict[str, str]) -> dict[str, str]:
        configs = self.managed().configs
        if name in configs:
            raise refused(409, "config already exists")
        configs[name] = f"config-{next(self.world.numbers)}"
        self.managed().object_labels[configs[name]] = dict(labels)
        return {"ID": configs[name]}

    def remove_config(self, config: str) -> None:
        swarm = self.managed()
        [name] = [name for name, known in swarm.configs.items() if known == config] or [""]
        if not name:
            raise refused(404, "config not found")
        users = [s["Spec"]["Name"] for s in swarm.services.values() if _uses(s["Spec"], "Config", name)]
        if users:
            raise refused(400, f"config '{name}' is in use by the following service: {users[0]}")
        del swarm.configs[name]

    def configs(self) -> list[dict[str, Any]]:
        return self._objects(self.managed().configs)

    def create_secret(self, name: str, data: bytes, labels: dict[str, str]) -> dict[str, str]:
        secrets = self.managed().secrets
        if name in secrets:
            raise refused(409, "secret already exists")
        secrets[name] = f"secret-{next(self.world.numbers)}"
        self.managed().object_labels[secrets[name]] = dict(labels)
        return {"ID": secrets[name]}

    def remove_secret(self, secret: str) -> None:
        swarm = self.managed()
        [name] = [name for name, known in swarm.secrets.items() if known == secret] or [""]
        if not name:
            raise refused(404, "secret not found")
        users = [s["Spec"]["Name"] for s in swarm.services.values() if _uses(s["Spec"], "Secret", name)]
        if users:
            raise refused(400, f"secret '{name}' is in use by the following service: {users[0]}")
        del swarm.secrets[name]

    def secrets(self) -> list[dict[str, Any]]:
        return self._objects(self.managed().secrets)

    def _objects(self, listed: dict[str, str]) -> list[dict[str, Any]]:
        labels = self.managed().object_labels
        return [{"ID": i, "Spec": {"Name": n, "Labels": labels.get(i)}} for n, i in listed.items()]

    def inspect_service(self, name: str) -> dict[str, Any]:
        if name not in self.managed().services:
            raise refused(404, f"service {name} not found")
        return copy.deepcopy(self.managed().services[name])

    def create_service(self, task_template: dict[str, Any], name: str, **spec: Any) -> dict[str, Any]:
        found = {"ID": f"service-{next(self.world.numbers)}", "Version": {"Index": 1}}
        self.managed().services[name] = {**found, "Spec": self._spec(task_template, name, **spec)}
        return {"ID": found["ID"]}

    def update_service(self, service: str, version: int, **spec: Any) -> None:
        [entry] = [s for s in self.managed().services.values() if s["ID"] == service]
        if version != entry["Version"]["Index"]:
            raise refused(500, "rpc error: update out of sequence")
        entry["Spec"] = self._spec(**spec)
        entry["Version"]["Index"] += 1

    def remove_service(self, name: str) -> None:
        """By its name or its id, as the engine takes either."""
        services = self.managed().services
        name = next((known for known, one in services.items() if one["ID"] == name), name)
        if services.pop(name, None) is None:
            raise refused(404, f"service {name} not found")

    @staticmethod
    def _spec(
        task_template: dict[str, Any],
        name: str,
        labels: dict[str, str],
        mode: dict[str, Any],
        update_config: dict[str, Any],
    ) -> dict[str, Any]:
        """As the engine keeps it: defaults added, empty values dropped, the network by its id."""
        task = copy.deepcopy(task_template)
        for key in ("Args", "Configs", "Secrets"):
            if not task["ContainerSpec"].get(key):
                task["ContainerSpec"].pop(key, None)
        task["ContainerSpec"]["Isolation"] = "default"
        task["Networks"] = [{"Target": "id-of-host-network"}]
        task |= {"ForceUpdate": task.get("ForceUpdate", 0), "Runtime": "container"}
        whole = {"Name": name, "Labels": labels, "TaskTemplate": task, "Mode": mode}
        return copy.deepcopy({**whole, "UpdateConfig": update_config, "EndpointSpec": {"Mode": "vip"}})

    def tasks(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        if self.world.live:
            [found] = [s for s in self.managed().services.values() if s["ID"] == filters["service"]]
            ends = (
                found.get("given_up") == _task(found) or not found["Spec"]["Mode"]["Replicated"]["Replicas"]
            )
            return [{"DesiredState": "shutdown" if ends else "running"}]
        return [task for task in self.managed().tasks if task["ServiceID"] == filters["service"]]

    # containers

    def containers(self, filters: dict[str, list[str]], all: bool = False) -> list[dict[str, Any]]:
        self.world.settle()
        wanted = dict(entry.split("=", 1) for entry in filters["label"])
        listed = {**self.running, **(self.ended if all else {})}
        return [
            {"Id": i, "Labels": labels, "State": "paused" if i in self.paused else "running"}
            for i, labels in listed.items()
            if wanted.items() <= labels.items()
        ]

    def inspect_container(self, container: str) -> dict[str, Any]:
        if container not in self.running and container not in self.ended:
            raise refused(404, f"No such container: {container}")
        started = f"2026-11-28T12:00:{self.started.get(container, 0):02d}.123456789Z"
        return {
            "Id": container,
            "Config": {"Image": self.images.get(container, IMAGE)},
            "State": {"StartedAt": started},
        }

    def kill(self, container: str, signal: str) -> None:
        if container not in self.running:
            raise refused(404, f"No such container: {container}")
        self.signals.append((container, signal))
        if signal == "SIGTERM" and container in self.deaf:
            return
        self.ended[container] = self.running.pop(container)

    def inspect_volume(self, name: str) -> dict[str, Any]:
        if name not in self.volumes:
            raise refused(404, f"get {name}: no such volume")
        return {"Name": name, "Labels": self.volumes[name] or None}

    def remove_volume(self, name: str) -> None:
        stack = self.inspect_volume(name)["Labels"]["trtspark.stack"]
        if any(labels.get("trtspark.stack") == stack for labels in {**self.running, **self.ended}.values()):
            raise refused(409, f"remove {name}: volume is in use")
        del self.volumes[name]

    def remove_container(self, container: str, force: bool) -> None:
        if container in self.running and not force:
            raise refused(409, "cannot remove a running container")
        if (self.running.pop(container, None) or self.ended.pop(container, None)) is None:
            raise refused(404, f"No such container: {container}")
