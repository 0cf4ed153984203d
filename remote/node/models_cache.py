"""Every model in a node's Hugging Face cache: how large, how whole; and taking whole folders of models away.

Newer clients share files between models: a blob is then a link into hub/blobs. Such a file goes only when
no other model links to it.
"""

import contextlib
import fcntl
import glob
import os
import re
import shutil

from remote.node import cache_folder, hub_cache, stop

#: The names the Hub's client gives; anything else in the folder is not a model.
FOLDER = re.compile(r"models--[A-Za-z0-9][\w.-]*--[A-Za-z0-9][\w.-]*")
#: What is in a model's folder, and nothing else: else it is somebody's own.
PARTS = {"blobs", "refs", "snapshots", ".no_exist", ".trtspark", ".cache"}


def look(args):
    """`args`: {"hf_cache"}. {"folder", "models": {id: {"bytes" on disk, files shared with other models
    left out; "shared": bytes of those; "commit" (main's) or None; "problems": [sentences]}}}.
    """
    cache = cache_folder.expand(args["hf_cache"])
    hub = os.path.join(cache, "hub")
    found = {}
    for folder in _folders(hub):
        model = _id(folder)
        known = hub_cache.look({"hf_cache": cache, "model": model, "revision": None})
        own, shared = _sizes(hub, os.path.join(hub, folder))
        problems = known["problems"] if known["commit"] else ["no revision is complete"]
        found[model] = {"bytes": own, "shared": shared, "commit": known["commit"], "problems": problems}
    return {"folder": cache, "models": found}


def prune(args):
    """`args`: {"hf_cache", "models": [ids to take away]}. {"removed": [ids], "bytes": freed}."""
    hub = os.path.join(cache_folder.expand(args["hf_cache"]), "hub")
    with _quiet():
        removed, freed = [], 0
        for model in args["models"]:
            folder = "models--" + model.replace("/", "--")
            path = os.path.join(hub, folder)
            if folder not in _folders(hub):
                continue
            strange = sorted(set(os.listdir(path)) - PARTS)
            if strange:
                raise stop.Stop(
                    "%s holds %s, which is no part of a model; nothing of it was removed" % (path, strange[0])
                )
            own, _ = _sizes(hub, path)
            shared = _shared(hub, path)
            shutil.rmtree(path)
            shutil.rmtree(os.path.join(hub, ".locks", folder), ignore_errors=True)
            removed.append(model)
            freed += own + _drop(hub, shared)
    return {"removed": removed, "bytes": freed}


def _folders(hub):
    try:
        names = sorted(os.listdir(hub))
    except OSError:
        return []
    plain = [name for name in names if FOLDER.fullmatch(name) and not os.path.islink(os.path.join(hub, name))]
    return [name for name in plain if os.path.isdir(os.path.join(hub, name))]


def _id(folder):
    return folder[len("models--") :].replace("--", "/", 1)


def _sizes(hub, path):
    """(bytes of its own, bytes in the shared store) on disk, every file counted once."""
    own: dict[str, int] = {}
    shared: dict[str, int] = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            real = os.path.realpath(full)
            if os.path.islink(full) and real.startswith(os.path.realpath(path) + os.sep):
                continue  # a snapshot's link to a blob that is counted by itself
            with contextlib.suppress(OSError):
                here = shared if os.path.islink(full) else own
                here[real] = os.stat(real).st_size
    return sum(own.values()), sum(shared.values())


def _shared(hub, path):
    """The files of the shared store that this model links to."""
    store = os.path.realpath(os.path.join(hub, "blobs")) + os.sep
    found = set()
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            real = os.path.realpath(full)
            if os.path.islink(full) and real.startswith(store):
                found.add(real)
    return found


def _drop(hub, files):
    """Remove shared files that no model links to any more: bytes freed."""
    if not files:
        return 0
    wanted, freed = set(), 0
    for name in os.listdir(hub):
        # Anything there may link to them: data sets and spaces too.
        if name != "blobs":
            wanted |= _shared(hub, os.path.join(hub, name))
    for path in files - wanted:
        with contextlib.suppress(OSError):
            size = os.stat(path).st_size
            os.unlink(path)
            freed += size
    return freed


@contextlib.contextmanager
def _quiet():
    """While no job of ours fetches or checks files here (weights_job.py holds the lock file)."""
    held = []
    for path in glob.glob(os.path.expanduser("~/.local/state/trtspark/*/lock")):
        handle = open(path)
        held.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for one in held:
                one.close()
            raise stop.Stop("files are being fetched here right now; try again when that is done") from None
    try:
        yield
    finally:
        for one in held:
            one.close()
