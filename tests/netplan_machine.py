"""A node under a folder whose netplan applies what its files say, for the program that sets addresses."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import netplan
from remote.node import as_root, fabric_config, node_lock

HALF0, HALF1 = "enp1s0f0np0", "enP2p1s0f0np0"
ADDRESSES = {HALF0: "172.16.100.11/24", HALF1: "172.16.101.11/24"}
TEXT = netplan.render({n: netplan.ip_interface(a) for n, a in ADDRESSES.items()})
ARGS: dict[str, Any] = {
    "stack": "dgx",
    "file": TEXT,
    "addresses": ADDRESSES,
    "mtu": 9000,
    "gids": [],
    "wait_s": 5,
    "keep_s": 5,
    "settle_s": 1,
}


class Machine:
    """A node under `root`: its commands' effects, and every command that asked for root."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.program = root, importlib.reload(fabric_config)
        self.interfaces: dict[str, dict[str, Any]] = {
            name: {"mtu": 1500, "addresses": {"169.254.1.1/16"} if name == HALF0 else set()}
            for name in (HALF0, HALF1)
        }
        self.forgets = True
        self.applied, self.refuses, self.used = 0, "", set[tuple[str, ...]]()
        self.guards: list[threading.Thread] = []
        for name in ("FILE", "TRIAL", "RECORD"):
            monkeypatch.setattr(self.program, name, str(root) + getattr(self.program, name))
        monkeypatch.setattr(self.program, "GUARD", str(root / "home/.trtspark/fabric-guard"))
        monkeypatch.setattr(self.program, "HEAD_START_S", 0)
        monkeypatch.setattr(self.program, "POLL_S", 0.01)
        monkeypatch.setattr(self.program, "FINISH_S", 0.2)
        monkeypatch.setattr(as_root, "run", self.run)
        monkeypatch.setattr(node_lock, "PLACE", str(root))
        monkeypatch.setattr(self.program, "detached", self.detached)
        (root / "etc/netplan").mkdir(parents=True)

    def detached(self, work: Any) -> None:
        """A thread, with the lock as a child has it."""
        held = os.dup(node_lock.descriptor())

        def run() -> None:
            try:
                with node_lock.inherited(held):
                    work()
            finally:
                os.close(held)

        self.guards.append(threading.Thread(target=run))
        self.guards[-1].start()

    def ask(self, action: str, **changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.program.main({**ARGS, **changes, "action": action})
        return found

    def waits(self) -> None:
        """Until the guard waits for its confirmation."""
        self.program.wait_for(
            lambda: (as_root.record(self.program.GUARD + "/status") or {}).get("phase") == "waiting", 5
        )

    def join(self) -> None:
        for guard in self.guards:
            guard.join()

    def run(
        self, words: Any, root: bool = False, text: str | None = None, timeout: float = 0
    ) -> dict[str, Any]:
        if root:
            self.used.add(tuple(word.replace(str(self.root), "") for word in words))
        match list(words):
            case ["netplan", "get"]:
                return {"rc": 0, "out": yaml.safe_dump(self.configured()), "err": ""}
            case ["netplan", "generate"]:
                return {"rc": 1 if self.refuses else 0, "out": "", "err": self.refuses}
            case ["netplan", "apply"]:
                self.apply()
                return {"rc": 0, "out": "", "err": ""}
            case ["ip", "-j", *_]:
                return {"rc": 0, "out": self.shown(), "err": ""}
            case ["ip", "-4", "address", "flush", "dev", name]:
                self.interfaces[name]["addresses"] = set()
                return {"rc": 0, "out": "", "err": ""}
            case ["ip", "link", "set", "dev", name, "mtu", mtu]:
                self.interfaces[name]["mtu"] = int(mtu)
                return {"rc": 0, "out": "", "err": ""}
        done = subprocess.run(list(words), input=text, capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "out": done.stdout, "err": done.stderr}

    def configured(self) -> dict[str, Any]:
        files = [*(self.root / "etc/netplan").glob("*.yaml"), *(self.root / "run/netplan").glob("*.yaml")]
        whole: dict[str, Any] = {}
        for path in {path.name: path for path in files}.values():
            whole |= yaml.safe_load(path.read_text())["network"]["ethernets"]
        return {"network": {"ethernets": whole}}

    def apply(self) -> None:
        self.applied += 1
        written = self.configured()["network"]["ethernets"]
        for name, found in self.interfaces.items():
            if name in written:
                found.update(mtu=written[name]["mtu"], addresses=set(written[name]["addresses"]))
            elif self.forgets:
                found.update(mtu=1500, addresses=set())

    def shown(self) -> str:
        return json.dumps(
            [
                {
                    "ifname": name,
                    "mtu": found["mtu"],
                    "flags": ["UP", "LOWER_UP"],
                    "addr_info": [
                        {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "dynamic": True},
                        *(
                            {"family": "inet", "local": a.split("/")[0], "prefixlen": int(a.split("/")[1])}
                            for a in sorted(found["addresses"])
                        ),
                    ],
                }
                for name, found in self.interfaces.items()
            ]
        )

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}

    def has(self) -> dict[str, set[str]]:
        return {name: found["addresses"] for name, found in self.interfaces.items()}


def text(addresses: dict[str, str]) -> str:
    """Our file with these."""
    return netplan.render({name: netplan.ip_interface(address) for name, address in addresses.items()})
