"""How this machine is right now: GPU, memory, ranks and the links' counters, as raw as they come.

`look` is one sample; the operator's side asks again and again over one login (trtspark/watching.py).
"""

import glob
import http.client
import json
import os
import socket
import subprocess
import time
import urllib.parse

from remote.node import affinity, hca_counters, untrusted

GPU_FIELDS = ("utilization.gpu", "temperature.gpu", "power.draw", "clocks.sm")
SMI = ["nvidia-smi", "--query-gpu=" + ",".join(GPU_FIELDS), "--format=csv,noheader,nounits"]
SOCKET = "/var/run/docker.sock"
#: nvidia-smi hangs with a wedged driver; the rest is worth showing all the same.
SMI_TIMEOUT_S = 5
DOCKER_TIMEOUT_S = 5


def look(args):
    """`args`: {"stack", "manager": whether to ask Swarm for services}. {"time", "gpu": text of one csv row
    or "", "meminfo": {kB}, "ranks": [{"rank", "name", "state", "status", "age" in seconds, "spec",
    "processes" (see affinity.py)}] newest first, "ports": [{"device", "netdev", "rate", "in", "out",
    "errors"}] (bytes since the machine started; see hca_counters.py), "services": [{"rank", "spec": Swarm's
    own}] or None where nobody can say, "problem"}.
    """
    answer = {
        "time": time.monotonic(),
        "gpu": _smi(),
        "meminfo": _meminfo(),
        "ports": _ports(),
        "services": _services(args["stack"]) if args.get("manager") else None,
        "problem": "",
    }
    try:
        answer["ranks"] = _ranks(args["stack"])
    except (OSError, ValueError, http.client.HTTPException) as error:
        answer["ranks"], answer["problem"] = [], "Docker does not answer: %s" % error
    return answer


def _smi():
    try:
        done = subprocess.run(SMI, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SMI_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip().split("\n")[0] if done.returncode == 0 else ""


def _meminfo():
    found = {}
    with open("/proc/meminfo") as handle:
        for line in handle:
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0])
    return found


#: Of the port's PCI function; remote/node/probe.py reads more.
PCIE = ("current_link_speed", "current_link_width")


def _ports():
    found = []
    for path in sorted(glob.glob("/sys/class/infiniband/*/ports/1")):
        device = path.split("/")[-3]
        if "ACTIVE" not in _text(path + "/state"):
            continue
        nets = sorted(glob.glob("/sys/class/infiniband/%s/device/net/*" % device))
        found.append(
            {
                "device": device,
                "netdev": os.path.basename(nets[0]) if nets else "",
                "rate": _text(path + "/rate"),
                "pcie": {name: _text("%s/../../device/%s" % (path, name)) for name in PCIE},
                # The counters are in units of four bytes.
                "in": 4 * int(_text(path + "/counters/port_rcv_data") or 0),
                "out": 4 * int(_text(path + "/counters/port_xmit_data") or 0),
                "errors": hca_counters.of_port(path),
            }
        )
    return found


def _ranks(stack):
    wanted = json.dumps({"label": ["trtspark.stack=" + stack]})
    listed = _docker("/containers/json?all=1&filters=" + urllib.parse.quote(wanted))
    found = []
    for one in sorted(listed, key=lambda one: -one["Created"]):
        labels = one["Labels"]
        if _numbered(labels):
            found.append(
                {
                    "rank": labels["trtspark.rank"],
                    "name": one["Names"][0].lstrip("/"),
                    "state": one["State"],
                    "status": one["Status"],
                    "age": max(0, time.time() - one["Created"]),
                    "spec": labels.get("trtspark.spec", ""),
                    "id": one["Id"],
                }
            )
    processes = affinity.read([one["id"] for one in found if one["state"] == "running"])
    for one in found:
        one["processes"] = processes.get(one.pop("id"), [])
    return found


def _services(stack):
    wanted = json.dumps({"label": ["trtspark.stack=" + stack]})
    try:
        listed = _docker("/services?filters=" + urllib.parse.quote(wanted))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    labelled = [(one["Spec"].get("Labels") or {}, one["Spec"]) for one in listed]
    return [{"rank": labels["trtspark.rank"], "spec": spec} for labels, spec in labelled if _numbered(labels)]


def _numbered(labels):
    """Somebody may have copied our labels to what is no rank."""
    return (labels or {}).get("trtspark.rank", "").isdecimal()


def _docker(path):
    connection = http.client.HTTPConnection("docker", timeout=DOCKER_TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(DOCKER_TIMEOUT_S)
        connection.sock.connect(SOCKET)
        connection.request("GET", path)
        response = connection.getresponse()
        body = untrusted.read(response)
        if response.status != 200:
            raise ValueError("HTTP %d" % response.status)
        return untrusted.load(body)
    finally:
        connection.close()


def _text(path):
    try:
        with open(path) as handle:
            return handle.read().strip()
    except OSError:
        return ""
