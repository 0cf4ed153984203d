"""What this machine is: one JSON document of raw outputs, read on the operator's side.

Runs on a node as the plain user; changes nothing, needs no sudo. Commands run side by side, so the
whole takes as long as the slowest. The parsers are in cluster/facts.py: here nothing is understood.
"""

import getpass
import json
import os
import re
import socket
import subprocess
import time

COMMANDS = {
    "nvidia-smi": [
        "nvidia-smi",
        "--query-gpu=index,name,uuid,driver_version",
        "--format=csv,noheader",
    ],
    "docker-info": ["docker", "info", "--format", "{{json .}}"],
    "docker-ranks": [
        "docker",
        "ps",
        "--filter",
        "label=trtspark.rank",
        "--format",
        '{{.Label "trtspark.stack"}} {{.Label "trtspark.rank"}} {{.Label "trtspark.port"}}',
    ],
    "ibdev2netdev": ["ibdev2netdev"],
    "nvidia-ctk": ["nvidia-ctk", "--version"],
    "ip-addr": ["ip", "-j", "-4", "addr"],
    "sudo": ["sudo", "-n", "true"],
}
FILES = (
    "/etc/dgx-release",
    "/etc/docker/daemon.json",
    "/etc/nvidia-container-runtime/config.toml",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/proc/meminfo",
    "/proc/sys/kernel/osrelease",
)
RDMA = "/sys/class/infiniband"
NET = "/sys/class/net"
#: A command that hangs (a wedged driver, a dead NFS mount) must not hang the probe.
TIMEOUT_S = 20


def look(_args):
    """{"commands": {name: {"rc", "out", "err"}}, "files": {path: text | None}, "rdma": […], …}."""
    running = {name: _start(argv) for name, argv in COMMANDS.items()}
    document = {
        "format": 1,
        "time": time.time(),
        "user": getpass.getuser(),
        "home": os.path.expanduser("~"),
        "hostname": socket.gethostname(),
        "ssh_connection": os.environ.get("SSH_CONNECTION", ""),
        "files": {path: _file(path) for path in FILES},
        "rdma": [_hca(name) for name in _names(RDMA)],
        "net": {name: _netdev(name) for name in _names(NET)},
        "listening": _listening(),
    }
    # The serial number is the owner's business: it never leaves the machine.
    release = document["files"]["/etc/dgx-release"]
    if release:
        document["files"]["/etc/dgx-release"] = re.sub(r"(?m)^DGX_SERIAL_NUMBER=.*\n?", "", release)
    document["commands"] = {name: _finish(process) for name, process in running.items()}
    return document


def _start(argv):
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return error


def _finish(process):
    if isinstance(process, OSError):
        return {"rc": 127, "out": "", "err": process.strerror or str(process)}
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"rc": 124, "out": "", "err": "no answer within %d s" % TIMEOUT_S}
    return {"rc": process.returncode, "out": out, "err": err}


def _file(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        return "unreadable: " + (error.strerror or "")


def _line(path):
    text = _file(path)
    return text.strip() if text and not text.startswith("unreadable: ") else ""


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _hca(name):
    base = "%s/%s" % (RDMA, name)
    port = base + "/ports/1"
    return {
        "name": name,
        "state": _line(port + "/state"),
        "rate": _line(port + "/rate"),
        "link_layer": _line(port + "/link_layer"),
        "netdevs": _names(base + "/device/net"),
        "gids": [
            {
                "index": int(index),
                "gid": _line("%s/gids/%s" % (port, index)),
                "type": _line("%s/gid_attrs/types/%s" % (port, index)),
                "netdev": _line("%s/gid_attrs/ndevs/%s" % (port, index)),
            }
            for index in sorted(_names(port + "/gid_attrs/types"), key=int)
        ],
    }


def _netdev(name):
    base = "%s/%s" % (NET, name)
    return {key: _line("%s/%s" % (base, key)) for key in ("mtu", "operstate", "speed")}


def _listening():
    """[[address, port], …] of every TCP socket that listens (state 0A), IPv4 in dotted form."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in (_file(table) or "").splitlines()[1:]:
            fields = row.split()
            if len(fields) > 3 and fields[3] == "0A":
                address, port = fields[1].rsplit(":", 1)
                if len(address) == 8:
                    address = socket.inet_ntoa(bytes.fromhex(address)[::-1])
                else:
                    address = "::"
                found.append([address, int(port, 16)])
    return found


if __name__ == "__main__":
    print(json.dumps(look({}), indent=1))
