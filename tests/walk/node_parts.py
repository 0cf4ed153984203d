"""What one machine has of a resource that changes no Swarm, with faults at any step of its change.

Each part is a machine in a folder, the resource's real provider, and the real program for the node on it.
A step is something that the machine carries out: a command of root's, a change of a file, a call of Docker.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unreachable
from dynamic_providers import base
from dynamic_providers.fabric_addresses import FabricAddressesProvider
from dynamic_providers.gpu_runtime import GpuRuntimeProvider
from dynamic_providers.serving_image import ServingImageProvider
from dynamic_providers.ssh_client import SshClientProvider
from remote import fabric_addresses, gpu_runtime, serving_image, ssh
from remote.engine import NodeDocker
from remote.node import as_root, fabric_config, ssh_client, stop
from remote.node import gpu_runtime as gpu_program
from tests import docker_machine, netplan_machine, samples
from tests.providers.fake_swarm import refused
from tests.providers.test_serving_image import SAID
from tests.walk.machines import Faults, Killed, no_answer
from tests.walk.pulumi_model import Pulumi, Registered

LOGIN = samples.connections(1)[0]


class Cut(Exception):
    """The login ends, and the program on the node with it."""


def said_no() -> BaseException:
    """A command of the node's fails."""
    return stop.Stop("`tee` failed: No space left on device")


#: What may meet a step: all ends, the login, or the step alone.
KINDS: dict[str, Callable[[], BaseException]] = {"killed": Killed, "cut": Cut, "refused": said_no}


class Part:
    """One resource of one machine under `root`."""

    kinds = KINDS

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.faults, self.pulumi = root, Faults(), Pulumi()
        root.mkdir(parents=True)
        self.pulumi.install(monkeypatch)
        base._LISTED.update(hosts={LOGIN.host}, all={LOGIN.host})
        monkeypatch.setattr(ssh.SshShell, "run", lambda _shell, *a, **k: self.run(*a))
        monkeypatch.setattr(ssh.SshShell, "renew", lambda _shell: None)
        self.props = self.first()

    # what each part says of itself

    def first(self) -> dict[str, Any]:
        """The resource's inputs."""
        raise NotImplementedError

    def registered(self, props: dict[str, Any]) -> Registered:
        """The resource, as the look before the plan has it."""
        raise NotImplementedError

    def change(self) -> None:
        """Another configuration."""
        raise NotImplementedError

    def spoil(self) -> None:
        """Somebody takes away by hand what is there of ours."""
        raise NotImplementedError

    def good(self) -> bool:
        """Whether the machine has what the configuration says."""
        raise NotImplementedError

    def remains(self) -> list[str]:
        """All that a change could leave there, a line each."""
        return tree(self.root)

    def rest(self) -> None:
        """What goes on by itself comes to its end."""

    # what a person does

    def up(self) -> list[str]:
        """`pulumi up`; what it did."""
        props = dict(self.props)
        self.pulumi.up([self.registered(props)])
        return self.pulumi.said

    def refresh_and_up(self) -> list[str]:
        """`pulumi up --refresh`."""
        self.pulumi.refresh()
        return self.up()

    def destroy(self) -> None:
        """`pulumi destroy`."""
        self.pulumi.destroy()

    # the machine's login

    def run(self, command: str, stdin: str = "", timeout: float = 0) -> ssh.Result:
        del stdin, timeout
        orders = json.loads(shlex.split(command)[-1])
        before = os.environ["HOME"]
        os.environ["HOME"] = str(self.root)
        try:
            answer = {name: PROGRAMS[name](args) for name, args in orders.items()}
        except Cut:
            raise Unreachable(LOGIN.host, "ssh ended.", "Try again.") from None
        except stop.Stop as error:
            return ssh.Result(1, "", str(error))
        finally:
            os.environ["HOME"] = before
        return ssh.Result(0, json.dumps(answer), "")

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`real`, each call of which is a step."""

        def call(*args: Any, **options: Any) -> Any:
            with self.faults.step():
                return real(*args, **options)

        return call


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "gpu_runtime": gpu_program.main,
    "fabric_config": lambda args: fabric_config.main(args),  # a test's machine loads it anew
    "ssh_client": ssh_client.main,
}


def tree(root: Path) -> list[str]:
    """Every folder, file and link below, a line each."""
    found = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "/"
        found.append(f"{name}: {content!r}")
    return found


class Counted:
    """A module some of whose functions are steps."""

    def __init__(self, part: Part, module: Any, *steps: str) -> None:
        self._part, self._module, self._steps = part, module, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return self._part.counted(found) if name in self._steps else found


class PreparedDocker(Part):
    """Docker prepared for the GPU: its owner has settings, and the login is not in the group."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, monkeypatch)
        (root / "var/lib").mkdir(parents=True)
        self.machine = docker_machine.Machine(root)
        self.machine.write('{\n  "log-driver": "local"\n}\n')
        self.machine.members.clear()
        docker_machine.install(self.machine, monkeypatch)
        monkeypatch.setattr(as_root, "sudo", self.counted(self.machine.sudo))
        monkeypatch.setattr(gpu_runtime, "look", lambda props: {"all": self._state(props["gpu"])})

    def first(self) -> dict[str, Any]:
        login = LOGIN.as_props()
        return {"stack": "dgx", "takeOver": "", "gpu": "GPU-1", "connection": login, "group": True}

    def registered(self, props: dict[str, Any]) -> Registered:
        # Only what its look finds makes Pulumi do something: steps, and none where all is well.
        steps = [] if self.good() else ["Docker is prepared"]
        return Registered(
            "gpu", GpuRuntimeProvider(), lambda _: {**props, "things": {"all": "good"}, "steps": steps}
        )

    def change(self) -> None:
        self.props["gpu"] = "GPU-2"

    def spoil(self) -> None:
        self.machine.toml.write_text(docker_machine.TOML)

    def good(self) -> bool:
        return self._state(self.props["gpu"]) == "good"

    def _state(self, gpu: str) -> str:
        has = self.machine.has
        resources = [f"NVIDIA_GPU={gpu}"]
        files = resources == (self.machine.settings() or {}).get("node-generic-resources")
        ours = 'swarm-resource = "DOCKER_RESOURCE_NVIDIA_GPU"' in self.machine.toml.read_text()
        running = has["node-generic-resources"] == resources and has["default-runtime"] == "nvidia"
        there = files and ours and running and self.machine.runs
        return "good" if there and "nvidia" in self.machine.members else "not good"

    def remains(self) -> list[str]:
        machine = self.machine
        return [*tree(self.root), f"{machine.has}", f"{machine.members}", f"runs: {machine.runs}"]


class Netplan(Part):
    """The fabric's addresses, by a netplan that forgets interfaces that no file names."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, monkeypatch)
        for folder in ("home", "var/lib", "run"):
            (root / folder).mkdir(parents=True)
        self.machine = netplan_machine.Machine(root, monkeypatch)
        self.machine.interfaces["enp1s0f0np0"]["addresses"] = set()
        self.alone = False
        program = self.machine.program
        PROGRAMS["fabric_config"] = program.main
        monkeypatch.setattr(program, "wait_for", self._wait_for)
        monkeypatch.setattr(program, "detached", self._detached(program.detached))
        monkeypatch.setattr(as_root, "run", self._run)
        monkeypatch.setattr(program, "write", self.counted(program.write))
        monkeypatch.setattr(fabric_addresses, "RETRY_S", 0.01)
        monkeypatch.setattr(fabric_addresses, "POLL_S", 0.1)

    def _wait_for(self, condition: Any, seconds: float) -> Any:
        """As the program's own; one that nobody will end is at its end."""
        deadline = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < deadline and not self.alone:
            time.sleep(0.005)
        return found

    def _run(self, words: Any, root: bool = False, text: Any = None, timeout: float = 0) -> dict[str, Any]:
        if not root:
            return self.machine.run(words, root, text, timeout)
        try:
            with self.faults.step():
                return self.machine.run(words, root, text, timeout)
        except stop.Stop as error:
            return {"rc": 1, "out": "", "err": str(error)}

    @staticmethod
    def _detached(begin: Any) -> Any:
        """The guard's own end is told to nobody."""

        def quiet(work: Callable[[], None]) -> None:
            with suppress(Killed, Cut, stop.Stop):
                work()

        return lambda work: begin(lambda: quiet(work))

    def first(self) -> dict[str, Any]:
        return {**self._addresses("172.16.100.11/24"), "stack": "dgx", "connection": LOGIN.as_props()}

    @staticmethod
    def _addresses(address: str) -> dict[str, Any]:
        addresses = {netplan_machine.HALF0: address}
        return {"addresses": addresses, "file": netplan_machine.text(addresses), "gids": [], "repair": ""}

    def registered(self, props: dict[str, Any]) -> Registered:
        repair = "" if not self.pulumi.state or self.good() else "the addresses are not there"
        return Registered("fabric", FabricAddressesProvider(), lambda _: {**props, "repair": repair})

    def change(self) -> None:
        self.props |= self._addresses("172.16.100.99/24")

    def spoil(self) -> None:
        os.unlink(self.machine.program.FILE)
        self.machine.apply()

    def good(self) -> bool:
        written = Path(self.machine.program.FILE)
        there = {n: sorted(i["addresses"]) for n, i in self.machine.interfaces.items() if i["addresses"]}
        wanted = {name: [address] for name, address in self.props["addresses"].items()}
        return there == wanted and written.exists() and written.read_text() == self.props["file"]

    def remains(self) -> list[str]:
        # An empty folder in /run is nobody's.
        files = [line for line in tree(self.root) if line != "run/netplan: '/'"]
        return [*files, *(f"{name}: {has}" for name, has in self.machine.interfaces.items())]

    def rest(self) -> None:
        self.alone = True
        self.machine.join()
        self.alone = False


class CarriedClient(Part):
    """The head's ssh client in a folder of ours, of two files that are quickly copied."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, monkeypatch)
        self.source = root.with_name(root.name + "-system")
        self.source.mkdir()
        for name in ("client", "ld.so"):
            (self.source / name).write_text("#!/bin/sh\nexit 0\n")
        monkeypatch.setattr(
            ssh_client, "parts", lambda: {name: str(self.source / name) for name in ("client", "ld.so")}
        )
        files = ("makedirs", "rename", "replace", "symlink", "unlink", "rmdir", "chmod")
        monkeypatch.setattr(ssh_client, "os", Counted(self, os, *files))
        import shutil

        monkeypatch.setattr(ssh_client, "shutil", Counted(self, shutil, "copyfile", "rmtree"))
        monkeypatch.setattr(ssh_client, "as_root", Counted(self, as_root, "run"))

    def first(self) -> dict[str, Any]:
        return {"folder": ".trtspark/ssh-dgx", "connection": LOGIN.as_props(), "client": "current"}

    def registered(self, props: dict[str, Any]) -> Registered:
        return Registered("client", SshClientProvider(), lambda _: props)

    def change(self) -> None:
        self.props["folder"] = ".trtspark/ssh-other"

    def spoil(self) -> None:
        (self.source / "client").write_text("#!/bin/sh\n# newer\nexit 0\n")

    def good(self) -> bool:
        current = self.root / self.props["folder"] / "current"
        names = sorted(os.listdir(self.root / self.props["folder"]))
        return (
            (current / "client").read_bytes() == (self.source / "client").read_bytes()
            and os.access(current / "ssh", os.X_OK)
            and names == sorted([os.path.basename(os.path.realpath(current)), "current"])
            and os.listdir(self.root / ".trtspark") == [os.path.basename(self.props["folder"])]
        )


class LookedIntoImage(Part):
    """The serving image, looked into by a container that must not stay."""

    kinds = {"killed": Killed, "no answer": no_answer, "refused": lambda: refused(500, "something is wrong")}  # noqa: RUF012

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, monkeypatch)
        self.there: dict[str, dict[str, str]] = {"theirs": {"com.example": "theirs"}}
        self.made = 0
        monkeypatch.setattr("remote.engine.connect", self._connect)
        monkeypatch.setattr(serving_image.check, "__defaults__", (self._connect,))

    def _connect(self, _connection: ssh.Connection) -> Any:
        steps = ("create_container", "start", "wait", "logs", "remove_container", "containers")
        return NodeDocker(LOGIN.target, lambda: Counted(self, self, *steps))

    # Docker's client

    def create_host_config(self, **config: Any) -> dict[str, Any]:
        return config

    def create_container(self, _image: str, labels: dict[str, str], **_config: Any) -> dict[str, str]:
        self.made += 1
        self.there[f"c{self.made}"] = labels
        return {"Id": f"c{self.made}"}

    def start(self, container: str) -> None:
        assert container in self.there

    def wait(self, container: str, timeout: float) -> dict[str, int]:
        assert container in self.there
        return {"StatusCode": 0}

    def logs(self, container: str, stderr: bool) -> bytes:
        assert container in self.there
        return SAID

    def remove_container(self, container: str, force: bool) -> None:
        del self.there[container]

    def containers(self, filters: dict[str, Any], **_options: Any) -> list[dict[str, Any]]:
        key, _, value = str(filters["label"]).partition("=")
        return [
            {"Id": one, "State": "exited", "Created": 0}
            for one, labels in self.there.items()
            if labels.get(key) == value
        ]

    def first(self) -> dict[str, Any]:
        connections = [LOGIN.as_props()]
        return {"image": "nvcr.io/x@sha256:" + "a" * 64, "connections": connections, "several": False}

    def registered(self, props: dict[str, Any]) -> Registered:
        return Registered("image", ServingImageProvider(), lambda _: props)

    def change(self) -> None:
        self.props["image"] = "nvcr.io/x@sha256:" + "b" * 64

    def spoil(self) -> None:
        self.props["several"] = True

    def good(self) -> bool:
        return bool(self.pulumi.state[0].outputs["image"] == self.props["image"])

    def remains(self) -> list[str]:
        return sorted(self.there)


PARTS = {
    "docker": PreparedDocker,
    "netplan": Netplan,
    "ssh client": CarriedClient,
    "image's content": LookedIntoImage,
}
