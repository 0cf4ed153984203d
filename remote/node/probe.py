"""What this machine is: one JSON document of raw outputs, read on the operator's side.

Runs on a node as the plain user; changes nothing. Commands run side by side, so the whole takes as long
as the slowest, and no longer than DEADLINE_S. The parsers are in cluster/parsing: here nothing is
understood but what must not leave the machine (serial number, passwords in URLs, other containers'
commands and environments), and paths and process numbers to look at next.
"""

import contextlib
import json
import os
import pwd
import re
import resource
import socket
import subprocess
import threading
import time
import urllib.parse
from typing import Any

from remote.node import cache_folder, rank_access, untrusted

COMMANDS = {
    "nvidia-smi": ["nvidia-smi", "--query-gpu=index,name,uuid,driver_version", "--format=csv,noheader"],
    "nvidia-smi-apps": ["nvidia-smi", "--query-compute-apps=pid,process_name", "--format=csv,noheader"],
    "nvidia-smi-version": ["nvidia-smi", "--version"],
    "ibdev2netdev": ["ibdev2netdev"],
    "nvidia-ctk": ["nvidia-ctk", "--version"],
    "ip-addr": ["ip", "-j", "addr"],
    "sudo": ["sudo", "-n", "true"],
}
#: Asked only where ufw is on and sudo needs no password; docs/preparing.md has its line.
UFW_RULES = "/etc/ufw/user.rules"
#: remote/node/gpu_runtime.py's; only the stack's name in it leaves the machine.
OUR_RECORD = "/var/lib/trtspark/gpu-runtime.json"
#: remote/node/gpu_clock.py's.
CLOCK_UNIT = "/etc/systemd/system/trtspark-gpu-clock.service"
FILES = (
    "/etc/default/locale",
    "/etc/default/ufw",
    "/etc/dgx-release",
    "/etc/docker/daemon.json",
    OUR_RECORD,
    "/etc/group",
    "/etc/nvidia-container-runtime/config.toml",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    CLOCK_UNIT,
    "/etc/ufw/ufw.conf",
    UFW_RULES,
    "/proc/cmdline",
    "/proc/meminfo",
    "/proc/net/route",
    "/proc/sys/kernel/osrelease",
)
#: Files that preparing changes. It replaces no symbolic link.
PREPARED = (
    "/etc/docker/daemon.json",
    "/etc/nvidia-container-runtime/config.toml",
    OUR_RECORD,
    CLOCK_UNIT,
)
#: Firewalls that start with the machine leave a link in one of systemd's folders.
UNITS = "/etc/systemd/system"
FIREWALLS = ("nftables.service", "firewalld.service", "netfilter-persistent.service")
RDMA = "/sys/class/infiniband"
#: A PCI function's link, as the kernel shows it: "32.0 GT/s PCIe", "4".
PCIE = ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width")
NET = "/sys/class/net"
SOCKET = "/var/run/docker.sock"
#: A command that hangs (a wedged driver, a dead NFS mount) must not hang the probe.
DEADLINE_S = 20
#: What is read of an image's environment, as NVIDIA's images set it. Anything else may be a secret.
IMAGE_ENV = (
    "CUDA_DRIVER_VERSION",
    "CUDA_VERSION",
    "NCCL_VERSION",
    "NVIDIA_REQUIRE_CUDA",
    "OPENMPI_VERSION",
    "TRT_LLM_VERSION",
)
#: By which Swarm's nodes find each other. Docker keeps it for some seconds after it has left a Swarm.
GOSSIP_PORT = 7946
LEAVING_S = 8
POLL_S = 0.1


def look(args):
    """{"commands": {name: {"rc", "out", "err"}}, "files": {path: text | None}, "rdma": […], …}.

    args: "hf_cache", the path of the Hugging Face cache, "port", the API's, and "image", the serving image's
    name; each may be missing.
    """
    document = {"format": 2, "asked": args, "time": time.time()}
    deadline = time.monotonic() + DEADLINE_S
    running = {name: _start(argv) for name, argv in COMMANDS.items()}
    docker = {"program": True, "info": _no_answer()}
    asking = threading.Thread(target=_docker, args=(docker, args.get("image"), deadline), daemon=True)
    asking.start()
    user = pwd.getpwuid(os.getuid())
    document.update(
        user=user.pw_name,
        gid=user.pw_gid,
        gids=os.getgroups(),
        home=os.path.expanduser("~"),
        hostname=socket.gethostname(),
        ssh_connection=os.environ.get("SSH_CONNECTION", ""),
        lang=os.environ.get("LANG", ""),
        memlock=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        clock_state=_clock_state(),
        files={path: _file(path) for path in FILES},
        links={path: os.path.realpath(path) for path in PREPARED if os.path.islink(path)},
        rank_access=rank_access.allowed(os.path.expanduser("~")),
        netplan=_names("/etc/netplan"),
        firewalls=_firewalls(),
        rdma=[_hca(name) for name in _names(RDMA)],
        net={name: _netdev(name) for name in _names(NET)},
    )
    commands = {name: _finish(process, deadline) for name, process in running.items()}
    files = document["files"]
    if _ufw_is_on(files) and commands["sudo"]["rc"] == 0 and not _text(files[UFW_RULES]):
        commands["ufw-rules"] = _finish(_start(["sudo", "-n", "cat", UFW_RULES]), deadline)
    asking.join(max(0.0, deadline - time.monotonic()))
    document["commands"] = commands
    document["docker"] = dict(docker)
    document.update(_ports(document["docker"]["info"]))
    document["gpu_cgroups"] = _cgroups(commands["nvidia-smi-apps"]["out"])
    document["places"] = _places(args, document["home"])
    document["disks"] = _disks(args, document["docker"], document["home"])
    _hide(document)
    document["time_after"] = time.time()
    return document


def _hide(document):
    """The serial number is the owner's business, and a proxy's password: they never leave the machine."""
    files = document["files"]
    release = files["/etc/dgx-release"] or ""
    files["/etc/dgx-release"] = re.sub(r"(?m)^DGX_SERIAL_NUMBER=.*\n?", "", release) or None
    record = files[OUR_RECORD]
    if record:
        stack = ""
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            stack = str(json.loads(record).get("stack", ""))
        files[OUR_RECORD] = json.dumps({"stack": stack})
    for path in ("/etc/docker/daemon.json", "/proc/cmdline"):
        if files[path]:
            files[path] = re.sub(r"://[^/@\s\"]+@", "://***@", files[path])
    rows = (files["/etc/group"] or "").splitlines()
    mine = (document["gid"], *document["gids"])
    kept = []
    for row in rows:
        name, _, rest = row.partition(":")
        number, _, members = rest.partition(":")[2].partition(":")
        if document["user"] in members.split(","):
            kept.append("%s:x:%s:%s" % (name, number, document["user"]))
        elif number.isdecimal() and int(number) in mine:
            kept.append("%s:x:%s:" % (name, number))
    files["/etc/group"] = "\n".join(kept)


def _start(argv):
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        return error


def _finish(process, deadline):
    if isinstance(process, OSError):
        return {"rc": 127, "out": "", "err": process.strerror or str(process)}
    try:
        # What ended long ago still gets a moment to be read after another one has used up the time.
        out, err = process.communicate(timeout=max(0.5, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):  # sudo is root's
            process.kill()
        # One that the kernel holds does not end by that, and its children may hold the pipes.
        process.stdout.close()
        process.stderr.close()
        return _no_answer()
    return {"rc": process.returncode, "out": out, "err": err}


def _no_answer():
    return {"rc": 124, "out": "", "err": "no answer within %d s" % DEADLINE_S}


def _docker(found, image, deadline):
    """The engine's own words, by its API: {"program", "info", "version", "containers", "configs", …}.

    Docker's command line would do the same, at twenty times the processor time (it asks its plugins).
    """
    folders = os.environ.get("PATH", os.defpath).split(":")
    found["program"] = any(os.access(folder + "/docker", os.X_OK) for folder in folders)
    info = _ask("/info", deadline)
    try:
        more = _more(info, image, deadline)
    except _NoList as answer:
        found["info"] = answer.args[0]  # nothing of it can be believed
        return
    found.update(more, info=info, options=_dockerd_options())
    if info["rc"]:
        found["installed"] = _installed(folders, deadline)


def _installed(folders, deadline):
    """What `dockerd --version` says, which needs no right to the socket."""
    for folder in (*folders, "/usr/bin", "/usr/sbin"):
        if os.access(folder + "/dockerd", os.X_OK):
            return _finish(_start([folder + "/dockerd", "--version"]), deadline)["out"]
    return ""


class _NoList(Exception):
    """Docker gave something else; the answer is the argument."""


def _more(info, image, deadline):
    found: dict[str, Any] = {
        "version": {},
        "containers": [],
        "configs": {},
        "secrets": {},
        "services": [],
        "nodes": {},
    }
    if info["rc"]:
        return found
    if image:
        found["image"] = _image(image, deadline)
    found["version"] = _ask("/version", deadline)
    found["containers"] = [_container(one, deadline) for one in _list("/containers/json", deadline)]
    if (json.loads(info["out"]).get("Swarm") or {}).get("ControlAvailable"):
        found.update(configs=_configs(deadline), services=_services(deadline), nodes=_nodes(deadline))
        found["secrets"] = _secrets(deadline)
    return found


def _list(path, deadline):
    """What Docker lists, and nothing where it refuses to. Raises _NoList where it is not to be understood."""
    answer = _ask(path, deadline)
    found = json.loads(answer["out"]) if answer["rc"] == 0 else []
    if answer["err"].startswith(SOCKET) or not isinstance(found, list):
        raise _NoList({"rc": 1, "out": "", "err": answer["err"] or "%s: it lists nothing" % SOCKET})
    return found


def _image(name, deadline):
    """What Docker has of an image, without starting anything from it: {"digests", "platform", "env"}; {}
    where it says that it has none, and None where it does not say.
    """
    answer = _ask("/images/%s/json" % urllib.parse.quote(name, safe="/:@."), deadline)
    if answer["rc"]:
        return {} if "no such image" in answer["err"].lower() else None
    one = json.loads(answer["out"])
    words = [word.partition("=") for word in (one.get("Config") or {}).get("Env") or []]
    return {
        "digests": one.get("RepoDigests") or [],
        "platform": "%s/%s" % (one.get("Os", ""), one.get("Architecture", "")),
        "env": {key: value for key, _, value in words if key in IMAGE_ENV},
    }


def _configs(deadline):
    """{name: id} of the Swarm configs that are ours by their name; only a manager knows any."""
    found = _list("/configs", deadline)
    return {one["Spec"]["Name"]: one["ID"] for one in found if one["Spec"]["Name"].startswith("trtspark-")}


def _secrets(deadline):
    """{name: public half} of the MPI keys that the Swarm keeps as secrets of ours; only a manager knows any.

    Docker gives nobody a secret's content; the public half is its label (remote/node/mpi_key.py).
    """
    return {
        one["Spec"]["Name"]: (one["Spec"].get("Labels") or {}).get("trtspark.public-key", "")
        for one in _list("/secrets", deadline)
        if one["Spec"]["Name"].startswith("trtspark-")
    }


def _nodes(deadline):
    """{id: our labels} of every node that the Swarm lists."""
    return {
        one["ID"]: {
            key: value
            for key, value in ((one.get("Spec") or {}).get("Labels") or {}).items()
            if key.startswith("trtspark.")
        }
        for one in _list("/nodes", deadline)
    }


def _services(deadline):
    """What the Swarm wants of our ranks: each service's labels and its number of tasks."""
    ours = urllib.parse.quote(json.dumps({"label": ["trtspark.rank"]}))
    found = []
    for one in _list("/services?filters=" + ours, deadline):
        task = one["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
        labels = {**(task.get("Labels") or {}), **(one["Spec"].get("Labels") or {})}
        replicas = (one["Spec"].get("Mode") or {}).get("Replicated", {}).get("Replicas", 1)
        found.append(
            {"labels": {k: v for k, v in labels.items() if k.startswith("trtspark.")}, "replicas": replicas}
        )
    return found


def _dockerd_options():
    """The options of dockerd's command line, without values but for the settings file's path."""
    pid = _text(_file("/var/run/docker.pid")).strip()
    words = _text(_file("/proc/%s/cmdline" % pid)).split("\0") if pid.isdecimal() else []
    found = []
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if name == "--config-file":
            found.append("--config-file=" + (value or "".join(words[place + 1 : place + 2])))
        elif name.startswith("--"):
            found.append(name)
    return found


def _container(one, deadline):
    """What is nobody's secret: a command or an environment may well be."""
    labels = {key: value for key, value in (one.get("Labels") or {}).items() if key.startswith("trtspark.")}
    inspected = _ask("/containers/%s/json" % one["Id"], deadline)
    host = json.loads(inspected["out"]).get("HostConfig") or {} if inspected["rc"] == 0 else {}
    return {
        "Id": one["Id"],
        "Names": one.get("Names"),
        "Image": one.get("Image"),
        "Labels": labels,
        "Service": (one.get("Labels") or {}).get("com.docker.swarm.service.name", ""),
        "State": one.get("State", ""),
        "RestartPolicy": (host.get("RestartPolicy") or {}).get("Name", ""),
    }


def _ask(path, deadline, headers=""):
    """GET on Docker's socket, as a command's result; HTTP/1.0 ends with the connection.

    `headers`: more of them, each with its line's end.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            connection.connect(SOCKET)
            connection.sendall(("GET %s HTTP/1.0\r\nHost: docker\r\n%s\r\n" % (path, headers)).encode())
            pieces, left = [], untrusted.MOST_BYTES
            while piece := connection.recv(1 << 20):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    return {"rc": 1, "out": "", "err": "%s: %s" % (SOCKET, untrusted.TooLong())}
    except TimeoutError:
        return _no_answer()
    except OSError as error:
        return {"rc": 1, "out": "", "err": "%s: %s" % (SOCKET, error.strerror or error)}
    head, _, body = b"".join(pieces).decode("utf-8", "replace").partition("\r\n\r\n")
    if not head.startswith("HTTP/"):
        return {"rc": 1, "out": "", "err": "%s: its answer is no HTTP, or none" % SOCKET}
    if head.split(" ")[1:2] == ["200"]:
        try:
            untrusted.load(body)
        except ValueError:
            return {"rc": 1, "out": "", "err": "%s: its answer is no JSON, or cut off" % SOCKET}
        return {"rc": 0, "out": body, "err": ""}
    return {"rc": 1, "out": "", "err": body.strip() or head.partition("\r\n")[0]}


def _cgroups(apps):
    """{pid: its cgroups}, which name the container it runs in, for "PID, NAME" lines."""
    pids = [row.split(",")[0].strip() for row in apps.splitlines()]
    return {pid: _text(_file("/proc/%s/cgroup" % pid)) for pid in pids if pid.isdecimal()}


def _disks(args, docker, home):
    paths = {"containerd": "/var/lib/containerd", "docker": "/var/lib/docker"}
    with contextlib.suppress(ValueError):
        paths["docker"] = json.loads(docker["info"]["out"]).get("DockerRootDir") or paths["docker"]
    if args.get("hf_cache"):
        paths["cache"] = cache_folder.expand(args["hf_cache"], home)
    return {name: _disk(path) for name, path in paths.items()}


def _places(args, home):
    """What is there of the folders that `up` writes to: the home, and the cache with its hub folder."""
    paths = {"home": home}
    if args.get("hf_cache"):
        paths["cache"] = os.path.join(cache_folder.expand(args["hf_cache"], home), "hub")
    return {name: {"path": path, **_place(path)} for name, path in paths.items()}


def _place(path):
    """The nearest that is there, from `path` upwards, and whether this user can make files in it."""
    there = path
    while not os.path.lexists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    try:
        read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY)
    except OSError:
        read_only = False
    writable = os.access(there, os.W_OK | os.X_OK)
    return {"there": there, "folder": os.path.isdir(there), "writable": writable, "read_only": read_only}


def _disk(path):
    """statvfs of `path`, or of the nearest folder above it that is there and may be seen."""
    there = os.path.realpath(path)
    while True:
        try:
            found = os.statvfs(there)
            break
        except OSError:
            there = os.path.dirname(there)
    mount = there
    while not os.path.ismount(mount):
        mount = os.path.dirname(mount)
    return {
        "path": path,
        "mount": mount,
        "frsize": found.f_frsize,
        "blocks": found.f_blocks,
        "bavail": found.f_bavail,
        "files": found.f_files,
        "favail": found.f_favail,
    }


def _clock_state():
    """adjtimex(2)'s answer: 5 is a clock that nothing keeps right. timedatectl asks the same, by D-Bus."""
    try:
        import ctypes

        return ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (ImportError, OSError, AttributeError):
        return None


def _firewalls():
    found = []
    for folder in _names(UNITS):
        if folder.endswith(".wants"):
            found += [unit for unit in _names("%s/%s" % (UNITS, folder)) if unit in FIREWALLS]
    return found


def _ufw_is_on(files):
    return re.search(r"(?mi)^ENABLED=[\"']?yes", _text(files["/etc/ufw/ufw.conf"])) is not None


def _file(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        return "unreadable: " + (error.strerror or "")


def _text(found):
    return found if found and not found.startswith("unreadable: ") else ""


def _line(path):
    """A file of /sys, "" where it cannot be read. There are a thousand: open() would take twice as long."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(number, 4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(number)


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _hca(name):
    base = "%s/%s" % (RDMA, name)
    port = base + "/ports/1"
    keys = ("state", "phys_state", "rate", "link_layer")
    return {
        "name": name,
        "device": _link(base + "/device"),
        **{key: _line("%s/%s" % (port, key)) for key in keys},
        "netdevs": _names(base + "/device/net"),
        "pcie": {key: _line("%s/device/%s" % (base, key)) for key in PCIE},
        "gids": _gids(port),
    }


def _gids(port):
    """The entries in use: a real port has room for 256, and the type of an unused one cannot be read."""
    found = []
    for index in sorted(_names(port + "/gid_attrs/types"), key=int):
        kind = _line("%s/gid_attrs/types/%s" % (port, index))
        if kind:
            gid = _line("%s/gids/%s" % (port, index))
            netdev = _line("%s/gid_attrs/ndevs/%s" % (port, index))
            found.append({"index": int(index), "gid": gid, "type": kind, "netdev": netdev})
    return found


def _netdev(name):
    base = "%s/%s" % (NET, name)
    keys = ("mtu", "operstate", "speed", "address", "dev_port")
    return {"device": _link(base + "/device"), **{key: _line("%s/%s" % (base, key)) for key in keys}}


def _ports(info):
    """{"tcp", "udp"}: the sockets in use. A Docker that has just left a Swarm is waited for."""
    deadline = time.monotonic() + LEAVING_S
    swarm = (json.loads(info["out"]) if info["rc"] == 0 else {}).get("Swarm") or {}
    while True:
        found = {"tcp": _sockets("tcp", "0A"), "udp": _sockets("udp", "07")}  # LISTEN; bound
        held = any(port == GOSSIP_PORT for _, port in [*found["tcp"], *found["udp"]])
        if not held or swarm.get("LocalNodeState") != "inactive" or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def _sockets(protocol, state):
    """[[address, port], …] of every socket in `state`, IPv4 in dotted form, all of IPv6 as "::"."""
    found = []
    for table in (protocol, protocol + "6"):
        for row in (_file("/proc/net/" + table) or "").splitlines()[1:]:
            fields = row.split()
            if len(fields) > 3 and fields[3] == state:
                address, port = fields[1].rsplit(":", 1)
                if len(address) == 8:
                    address = socket.inet_ntoa(bytes.fromhex(address)[::-1])
                else:
                    address = "::"
                found.append([address, int(port, 16)])
    return found


if __name__ == "__main__":
    print(json.dumps(look({}), indent=1))
