"""What runs on this machine now: our containers, their image, the CPUs that their threads may use, the
adapters' error counters, and on the manager what the Swarm says of its nodes, services and tasks.

As the plain user; changes nothing. Docker is asked by its socket, side by side.
"""

import contextlib
import json
import threading
import time
from urllib.parse import quote

from remote.node import affinity, gpu_state, hca_counters, probe

DEADLINE_S = 10


def look(args):
    """{"counters": {HCA: {name: number}}, "gpu" (see gpu_state.py), "image", "containers", "nodes",
    "services", "tasks"}; each of Docker's answers is None where it gave none. A running container has
    "processes" (see affinity.py).

    args: "stack" (its name), "image" (as configured), "manager" (whether to ask about the Swarm),
    "samples" (of the GPU; none where left out), "root" (of sysfs, for tests).
    """
    deadline = time.monotonic() + DEADLINE_S
    label = _filter(label=["trtspark.stack=%s" % args["stack"]])
    asks = {
        "image": "/images/%s/json" % quote(args["image"], safe="/:@."),
        "containers": "/containers/json?all=1&filters=" + label,
    }
    if args["manager"]:
        asks.update(nodes="/nodes", services="/services?filters=" + label, tasks="/tasks?filters=" + label)
    found = dict.fromkeys(("image", "containers", "nodes", "services", "tasks"))

    def ask(name):
        answer = probe._ask(asks[name], deadline)
        if answer["rc"] == 0:
            with contextlib.suppress(LookupError, TypeError, AttributeError):  # not as Docker's are
                found[name] = SHORT[name](json.loads(answer["out"]))

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in asks]
    for thread in threads:
        thread.start()
    found["counters"] = hca_counters.errors(args)
    found["gpu"] = gpu_state.samples(args.get("samples", 0))
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for one in found["containers"] or []:
        answer = probe._ask("/images/%s/json" % quote(one["ImageID"], safe=":"), deadline)
        one["digests"] = (json.loads(answer["out"]).get("RepoDigests") or []) if answer["rc"] == 0 else []
    running = [one for one in found["containers"] or [] if one["State"] == "running"]
    processes = affinity.read([one["Id"] for one in running])
    for one in running:
        one["processes"] = processes.get(one["Id"], [])
    found["time"] = time.time()
    return found


def _filter(**wanted):
    return quote(json.dumps(wanted))


def _image(document):
    return {"Id": document.get("Id"), "RepoDigests": document.get("RepoDigests") or []}


def _containers(listed):
    keys = ("Id", "ImageID", "State", "Status", "Created")
    return [{**{key: one.get(key) for key in keys}, "Labels": _ours(one.get("Labels"))} for one in listed]


def _nodes(listed):
    return [
        {
            "ID": one["ID"],
            "Spec": {key: one["Spec"].get(key) for key in ("Availability", "Role", "Labels")},
            "Description": {
                "Hostname": one["Description"].get("Hostname"),
                "Resources": one["Description"].get("Resources"),
            },
            "Status": one.get("Status"),
        }
        for one in listed
    ]


def _services(listed):
    return [
        {key: one.get(key) for key in ("ID", "Version", "Spec", "CreatedAt", "UpdatedAt")} for one in listed
    ]


def _tasks(listed):
    """Without their copies of the service's spec; the newest first, and not the whole past."""
    keys = ("ID", "ServiceID", "NodeID", "CreatedAt", "DesiredState", "Status")
    newest = sorted(listed, key=lambda one: one.get("CreatedAt") or "", reverse=True)
    return [
        {**{key: one.get(key) for key in keys}, "Labels": _ours(one.get("Labels"))} for one in newest[:60]
    ]


def _ours(labels):
    return {key: value for key, value in (labels or {}).items() if key.startswith("trtspark.")}


SHORT = {
    "image": _image,
    "containers": _containers,
    "nodes": _nodes,
    "services": _services,
    "tasks": _tasks,
}
