"""What the operator asks of a node: look, begin, tell where the others are, end, forget.

The work itself (weights_agent.py) runs in a process of its own that outlives the login. One at a time for
each deployment: it holds the lock file in the state folder, and its number is the job's id. Only `start`
needs the other modules: the rest is quick because it does not load HTTP and TLS.
"""

import contextlib
import os
import signal

from remote.node import detached, shared_folder, whole_file
from remote.node import weights_cache as cache

#: What stays from one job to the next.
KEPT = ("weights.json", "journal.json")
TORN = (
    "%s, our record of the weights, was torn: which files were fetched here cannot be known, and all stay. "
    "`trtspark models prune` takes a model away."
)


def look(args):
    """The state of every file ([state, bytes found], by the records alone), and of the work that runs."""
    store = cache.Store(args)
    return {
        "files": [[state, size] for _, state, size in store.states()],
        "folder": store.cache,
        "installed": cache.read_text(os.path.join(store.model, "refs", "main")) == store.commit
        and all(os.path.exists(store.link(file)) for file in store.files),
        "running": detached.running(store.folder),
        "shared": shared_folder.look(os.path.join(store.cache, "hub")),
    }


def start(args):
    """Begin the job, or take up the one that runs under its number. {"ports": […], "running": bool}.

    `args`: what weights_cache.Store wants, and job (its number), me (this node's), nodes (all that take
    part), endpoint, token, key (hex), listen [[address, interface]], hash [numbers of files to hash],
    sources (one for each file: None, "hub", "sent" or a node's number), sent {path: base64}, readers (how
    many nodes read here), streams, hub_streams, following (files that arrive at once at the node that
    fetches; 0: nobody does), stall, first (seconds), install (bool).
    """
    from remote.node import weights_peer

    folder = cache.state_folder(args["stack"])
    _make(folder)
    lock = detached.locked(folder)
    if lock is None:
        found = cache.read_json(os.path.join(folder, "status.json"))
        ports = cache.read_json(os.path.join(folder, "ports.json")).get("ports")
        if found.get("job") == args["job"] and found.get("state") != "failed" and isinstance(ports, list):
            return {"running": True, "ports": ports}
        lock = detached.freed(folder)
        if lock is None:
            raise cache.Stop("another job for this deployment does not end (see %s/lock)" % folder)
    cache.unlink(os.path.join(folder, "status.json"))
    sockets = [weights_peer.listen(address, interface) for address, interface in args["listen"]]
    ports = [server.getsockname()[1] for server in sockets]
    cache.write_json(os.path.join(folder, "ports.json"), {"ports": ports})
    detached.detach(folder, args["job"], lambda: _work(args, sockets), close=sockets)
    return {"running": False, "ports": ports}


def connect(args):
    """Where the others listen: `args` stack, job, peers."""
    path = os.path.join(cache.state_folder(args["stack"]), "peers.json")
    cache.write_json(path, {"job": args["job"], "peers": args["peers"]})
    return {}


def end(args):
    """Stop what runs, and leave nothing but the records (and what has arrived)."""
    folder = cache.state_folder(args["stack"])
    with detached.ended(folder):
        if not cache.read_json(os.path.join(folder, "journal.json")):
            cache.unlink(os.path.join(folder, "journal.json"))
        for name in ("status.json", "ports.json", "peers.json", "log", "lock"):
            cache.unlink(os.path.join(folder, name))
    return {}


def forget(args):
    """Leave no trace of ours: records, half-fetched files and, where `delete`, what was fetched here.

    `args`: stack, delete. What lay in the cache before stays in any case.
    {"removed": n, "notes": what cannot be known}.
    """
    folder = cache.state_folder(args["stack"])
    path = os.path.join(folder, "weights.json")
    notes = [TORN % path] if cache.torn(folder) else []
    document, begun = cache.recorded(folder), cache.read_json(os.path.join(folder, "journal.json"))
    end(args)
    for final in cache.of_files(begun):
        cache.unlink(final + ".trtspark-incomplete")
        _prune(os.path.dirname(final))
    removed = 0
    for path, known in document["files"].items():
        if args["delete"] and known.get("fetched"):
            removed += _remove(path)
    for name in ("status.json", "ports.json", "peers.json", *KEPT):
        for left in whole_file.drafts(os.path.join(folder, name)):  # of a run that was cut off
            cache.unlink(left)
    for name in KEPT:
        cache.unlink(os.path.join(folder, name))
    # The folder of all deployments is ours too, also where a run was cut off before it was on record.
    made = [*document["made"], folder, os.path.dirname(folder)]
    for place in sorted(set(made), key=len, reverse=True):
        _rmdir(place)
    return {"removed": removed, "notes": notes}


def _work(args, sockets):
    from remote.node import weights_agent

    agent = weights_agent.Agent(args, sockets)
    signal.signal(signal.SIGTERM, lambda *_: agent.stopping.set())
    agent.run()


def _make(folder):
    """The state folder; folders that were not there before are on record, to be removed at the end."""
    missing, place = [], folder
    while not os.path.isdir(place):
        missing.append(place)
        place = os.path.dirname(place)
    if missing:
        os.makedirs(folder, mode=0o700)
        cache.write_json(os.path.join(folder, "weights.json"), {"made": missing}, lasting=True)


def _remove(path):
    """A blob of ours and the links to it; 1 when it was there."""
    model = os.path.dirname(os.path.dirname(path))
    if os.path.basename(os.path.dirname(path)) == "blobs" and os.path.isdir(os.path.join(model, "snapshots")):
        for folder, _, names in os.walk(os.path.join(model, "snapshots")):
            for link in (os.path.join(folder, name) for name in names):
                if os.path.islink(link) and os.path.realpath(link) == path:
                    cache.unlink(link)
    there = os.path.exists(path)
    cache.unlink(path)
    _prune(os.path.dirname(path))
    return int(there)


def _prune(folder):
    """Take empty folders of the model away; its name in refs with the last of them."""
    if os.path.basename(folder) != "blobs":
        _rmdir(folder)
        return
    model = os.path.dirname(folder)
    for place, _, _ in os.walk(os.path.join(model, "snapshots"), topdown=False):
        _rmdir(place)
    _rmdir(folder)
    if not os.path.exists(folder) and not os.path.exists(os.path.join(model, "snapshots")):
        cache.unlink(os.path.join(model, "refs", "main"))
        _rmdir(os.path.join(model, "refs"))
        _rmdir(model)


def _rmdir(folder):
    with contextlib.suppress(OSError):
        os.rmdir(folder)
