#!/usr/bin/python3 -IS
"""Stands in for systemd in a node: keeps sshd and dockerd running, and obeys `systemctl`.

Follows what systemd does with Docker's unit (Type=notify, Restart=always, RestartSec=2,
StartLimitBurst=3, StartLimitIntervalSec=60, KillMode=process): a fourth start within a minute is
refused and leaves Docker stopped. `systemctl` talks to it over SOCKET, one JSON object each way.
"""

import contextlib
import json
import resource
import selectors
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOCKET = Path("/run/lab/service-manager")
NOTIFY = Path("/run/lab/notify")
DISABLED = Path("/etc/lab/disabled")
RDMA_DEVICES = "/usr/lib/lab/rdma-devices"
NETWORK_SETTINGS = "/usr/lib/lab/network-settings"
FIREWALL = Path("/etc/ufw/ufw.conf")
DOCKERD_FLAGS = Path("/etc/lab/dockerd-flags")
MEMLOCK = {"ssh.service": 16_325_750_784, "docker.service": 8 << 20}
"""Bytes: an eighth of a Spark's memory for its people (DGX OS 7.4), and systemd's default."""
UNITS = Path("/etc/systemd/system")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RESTART_PAUSE = 2.0
START_LIMIT = 3
START_INTERVAL = 60.0
STOP_DEADLINE = 90.0


class Unit:
    """One service; `state` and `result` are systemd's words."""

    def __init__(self, name: str, description: str, command: list[str], log: Path, *, notifies: bool) -> None:
        self.name, self.description, self.command = name, description, command
        self.log, self.notifies = log, notifies
        self.state, self.result = "inactive", "success"
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.since = time.time()
        self.starts: list[float] = []
        self.restart_at: float | None = None
        self.killed_at: float | None = None
        self.waiting: list[socket.socket] = []  # `systemctl start`s that wait for the end of it

    def become(self, state: str, result: str = "success") -> None:
        self.state, self.result, self.since = state, result, time.time()

    def start(self, *, limited: bool = True) -> bool:
        """Return False when it was started too often."""
        now = time.monotonic()
        self.starts = [at for at in self.starts if now - at < START_INTERVAL]
        self.restart_at = None
        if limited and len(self.starts) >= START_LIMIT:
            self.wanted = False
            self.become("failed", "start-limit-hit")
            return False
        if limited:  # the start at boot is long past on a real machine
            self.starts.append(now)
        self.wanted = True
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": PATH, "LANG": "C.UTF-8", "NOTIFY_SOCKET": str(NOTIFY)},
                start_new_session=True,
            )
        limit_memlock(self.process.pid, MEMLOCK.get(self.name))
        self.become("activating" if self.notifies else "active")
        return True

    def ended(self, status: int) -> None:
        self.process = None
        with self.log.open("a") as log:
            log.write(f"{self.name}: Main process exited, status={status}\n")
        if not self.wanted:
            self.become("inactive")
        else:
            self.become("activating", "exit-code")
            self.restart_at = time.monotonic() + RESTART_PAUSE

    def show(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "state": self.state,
            "result": self.result,
            "pid": self.process.pid if self.process else 0,
            "since": self.since,
            "enabled": self.name not in disabled(),
            "restarting": self.restart_at is not None,
        }


class Oneshot:
    """A unit of the machine's owner: a file in /etc/systemd/system that runs commands once and stays active.

    As systemd, it takes a changed file only at `daemon-reload`.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.name = file, file.name
        self.state, self.result, self.since = "inactive", "success", time.time()
        self.load()

    def load(self) -> None:
        lines = self.file.read_text().splitlines()
        self.settings = dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def link(self) -> Path:
        return UNITS / "multi-user.target.wants" / self.name

    def act(self, verb: str) -> str:
        """Obey `systemctl VERB`; the answer's word."""
        if verb in ("enable", "disable"):
            self.link.parent.mkdir(exist_ok=True)
            self.link.unlink(missing_ok=True)
            if verb == "enable":
                self.link.symlink_to(self.file)
            return "done"
        if verb == "forget":
            self.state = "inactive" if self.state == "failed" else self.state
            return "done"
        if verb in ("stop", "restart") and self.state == "active":
            self.run("ExecStop")
            self.state, self.result = "inactive", "success"
        if verb in ("start", "restart") and self.state != "active":
            good = self.run("ExecStart")
            self.state, self.result = ("active", "success") if good else ("failed", "exit-code")
            self.since = time.time()
            return "done" if good else "failed"
        return "done"

    def run(self, key: str) -> bool:
        words = shlex.split(self.settings.get(key, ""))
        with Path("/var/log", self.name).open("ab") as log:
            done = subprocess.run(words, stdout=log, stderr=log, env={"PATH": PATH}, check=False)
        return done.returncode == 0

    def show(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.settings.get("Description", self.name),
            "state": self.state,
            "result": self.result,
            "pid": 0,
            "since": self.since,
            "enabled": self.link.is_symlink(),
            "restarting": False,
        }


def limit_memlock(pid: int, wanted: int | None) -> None:
    """Give a service the limit that it has on a Spark, or as much of it as this machine may give."""
    if wanted is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    limits = [wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)]
    limits += [wanted] if wanted > limits[0] else []  # takes CAP_SYS_RESOURCE
    for limit in limits:
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_MEMLOCK, (limit, limit))


def disabled() -> list[str]:
    return DISABLED.read_text().split() if DISABLED.exists() else []


def set_enabled(name: str, *, wanted: bool) -> None:
    names = [other for other in disabled() if other != name]
    DISABLED.write_text("".join(f"{each}\n" for each in (names if wanted else [*names, name])))


class Manager:
    def __init__(self, units: list[Unit]) -> None:
        self.units = {unit.name: unit for unit in units}
        self.oneshots: dict[str, Oneshot] = {}
        self.stopping: dict[str, Callable[[], None]] = {}  # unit: what to do once its process is gone
        self.selector = selectors.DefaultSelector()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.notify.bind(str(NOTIFY))
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        self.control.listen(16)
        self.wake, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for source, act in (
            (self.notify, self.on_notify),
            (self.control, self.on_control),
            (self.wake, self.on_signal),
        ):
            self.selector.register(source, selectors.EVENT_READ, act)

    def run(self) -> None:
        for unit in self.units.values():
            if unit.name not in disabled():
                unit.start(limited=False)
        for link in sorted(UNITS.glob("multi-user.target.wants/*.service")):
            if unit_of_owner := self.oneshot(link.name):
                unit_of_owner.act("start")
        while True:
            for key, _ in self.selector.select(timeout=self.next_deadline()):
                key.data()
            self.reap()
            self.restart_and_kill()

    def next_deadline(self) -> float | None:
        now = time.monotonic()
        moments = [u.restart_at for u in self.units.values() if u.restart_at]
        moments += [u.killed_at for u in self.units.values() if u.killed_at]
        return max(0.0, min(moments) - now) if moments else None

    def reap(self) -> None:
        for unit in self.units.values():
            status = unit.process.poll() if unit.process else None
            if status is None:
                continue
            unit.ended(status)
            unit.killed_at = None
            self.answer(unit, "failed")
            after = self.stopping.pop(unit.name, None)
            if after:
                after()

    def restart_and_kill(self) -> None:
        now = time.monotonic()
        for unit in self.units.values():
            if unit.restart_at and now >= unit.restart_at:
                unit.start()
            if unit.killed_at and now >= unit.killed_at:
                unit.killed_at = None
                if unit.process:
                    unit.process.kill()

    def on_signal(self) -> None:
        self.wake.recv(4096)

    def on_notify(self) -> None:
        text, credentials, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
        if b"READY=1" not in text.split(b"\n"):
            return
        sender = int.from_bytes(credentials[0][2][:4], "little") if credentials else 0
        for unit in self.units.values():
            if unit.notifies and unit.state == "activating" and unit.process and unit.process.pid == sender:
                unit.become("active")
                self.answer(unit, "done")

    def answer(self, unit: Unit, result: str) -> None:
        for connection in unit.waiting:
            reply(connection, {"answer": result, **unit.show()})
        unit.waiting = []

    def on_control(self) -> None:
        connection, _ = self.control.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        by_root = int.from_bytes(credentials[4:8], "little") == 0
        try:
            order = json.loads(connection.recv(65536))
            verb, name = order["verb"], order["unit"]
        except (OSError, ValueError, KeyError):
            connection.close()
            return
        if verb == "daemon-reload":
            self.reload_files()
            reply(connection, {"answer": "done"})
            return
        unit = self.units.get(name)
        if unit is None and (own := self.oneshot(name)):
            answer = "denied" if verb != "show" and not by_root else "done"
            if verb != "show" and by_root:
                answer = own.act(verb)
            reply(connection, {"answer": answer, **own.show()})
        elif unit is None:
            reply(connection, {"answer": "not-found"})
        elif verb == "show":
            reply(connection, {"answer": "done", **unit.show()})
        elif not by_root:
            reply(connection, {"answer": "denied"})
        else:
            getattr(self, f"do_{verb}")(unit, connection)

    def oneshot(self, name: str) -> Oneshot | None:
        """The owner's unit of that name, loaded when it is first asked for."""
        file = UNITS / name
        if name not in self.oneshots and file.is_file() and "Type=oneshot" in file.read_text():
            self.oneshots[name] = Oneshot(file)
        return self.oneshots.get(name)

    def reload_files(self) -> None:
        for name, unit in list(self.oneshots.items()):
            if unit.file.is_file():
                unit.load()
            elif unit.state != "active":
                del self.oneshots[name]

    def do_start(self, unit: Unit, connection: socket.socket) -> None:
        if unit.process and unit.state == "active":
            reply(connection, {"answer": "done", **unit.show()})
        elif unit.process is None and not unit.start():
            reply(connection, {"answer": "start-limit-hit", **unit.show()})
        elif unit.notifies:
            unit.waiting.append(connection)
        else:
            reply(connection, {"answer": "done", **unit.show()})

    def do_stop(self, unit: Unit, connection: socket.socket) -> None:
        self.stop(unit, lambda: reply(connection, {"answer": "done", **unit.show()}))

    def do_restart(self, unit: Unit, connection: socket.socket) -> None:
        self.stop(unit, lambda: self.do_start(unit, connection))

    def stop(self, unit: Unit, after: Callable[[], None]) -> None:
        unit.wanted, unit.restart_at = False, None
        if unit.process is None:
            if unit.state != "failed":
                unit.become("inactive")
            after()
            return
        unit.become("deactivating")
        self.stopping[unit.name] = after
        unit.killed_at = time.monotonic() + STOP_DEADLINE
        unit.process.terminate()

    def do_reload(self, unit: Unit, connection: socket.socket) -> None:
        if unit.state != "active" or unit.process is None:
            reply(connection, {"answer": "inactive", **unit.show()})
            return
        unit.process.send_signal(signal.SIGHUP)
        reply(connection, {"answer": "done", **unit.show()})

    def do_forget(self, unit: Unit, connection: socket.socket) -> None:
        """`systemctl reset-failed`."""
        unit.starts = []
        if unit.state == "failed":
            unit.become("inactive")
        reply(connection, {"answer": "done", **unit.show()})

    def do_enable(self, unit: Unit, connection: socket.socket) -> None:
        set_enabled(unit.name, wanted=True)
        reply(connection, {"answer": "done", **unit.show()})

    def do_disable(self, unit: Unit, connection: socket.socket) -> None:
        set_enabled(unit.name, wanted=False)
        reply(connection, {"answer": "done", **unit.show()})


def reply(connection: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError), connection:  # systemctl may have been interrupted
        connection.sendall(json.dumps(message).encode())


def dockerd_flags() -> list[str]:
    """What an owner added to the command line of Docker's unit."""
    return DOCKERD_FLAGS.read_text().splitlines() if DOCKERD_FLAGS.exists() else []


def start_firewall() -> None:
    """What ufw.service does at boot."""
    if FIREWALL.exists() and "ENABLED=yes" in FIREWALL.read_text().splitlines():
        subprocess.run(["/usr/lib/ufw/ufw-init", "start"], check=False)


CONTAINERD_2 = Path("/usr/bin/dockerd").exists()
"""Debian's Docker keeps a containerd of its own, and is in /usr/sbin."""
DOCKERD = (
    ["/usr/bin/dockerd", "--containerd=/run/containerd/containerd.sock"]
    if CONTAINERD_2
    else ["/usr/sbin/dockerd"]
)

SSH = Unit(
    "ssh.service",
    "OpenBSD Secure Shell server",
    ["/usr/sbin/sshd", "-D", "-e"],
    Path("/var/log/sshd.log"),
    notifies=False,
)
RDMA = Unit(
    "rdma-devices.service",
    "Simulated RDMA devices",
    ["/usr/lib/lab/follow-links"],
    Path("/var/log/rdma-devices.log"),
    notifies=False,
)
DOCKER = Unit(
    "docker.service",
    "Docker Application Container Engine",
    [*DOCKERD, "-H", "unix:///run/docker.sock", *dockerd_flags()],
    Path("/var/log/dockerd.log"),
    notifies=True,
)

CONTAINERD = Unit(
    "containerd.service",
    "containerd container runtime",
    ["/usr/bin/containerd"],
    Path("/var/log/containerd.log"),
    notifies=True,
)

if __name__ == "__main__":
    subprocess.run([NETWORK_SETTINGS], check=True)
    subprocess.run([RDMA_DEVICES], check=True)
    start_firewall()
    Manager([SSH, RDMA, *([CONTAINERD] if CONTAINERD_2 else []), DOCKER]).run()
