"""What a node's Hugging Face cache holds of a model, and whether every file is whole.

Reads the standard cache layout (hub/models--ORG--NAME/{refs,blobs,snapshots}). A safetensors file is
whole when its size is what its own header says: 8 bytes, the header, and the last tensor's end.
"""

import grp
import json
import os
import pwd
import struct

from remote.node import cache_folder, hub_names, shared_folder

MAX_HEADER = 100 << 20  # the format's own limit, bytes
MAX_CONFIG = 1 << 20  # a config.json has a few kB
TIKTOKEN = ("o200k_base.tiktoken", "cl100k_base.tiktoken")


def look(args):
    """`args`: {"hf_cache", "model", "revision" (a commit, branch or tag; None: main)}.
    {"models": [ids], "commit": str | None, "files": {name: bytes},
    "blobs": {name: the Hub's digest, where its blob is named by it}, "problems": [sentences],
    "tiktoken": bool, "folder": the cache's absolute path, "config": config.json's text or "", "shared":
    shared_folder.py's answer, "flat": whether models lie in the cache folder itself, as in its hub folder,
    "locked": the folder of the model's that this user may not write to, or "", "readable": whether the user
    may read all of it, "main": the commit that the cache has as main, "owner": "user:group" of this login}.
    """
    cache = cache_folder.expand(args["hf_cache"])
    hub = os.path.join(cache, "hub")
    answer = {
        "folder": cache,
        "models": _models(hub),
        "commit": None,
        "files": {},
        "blobs": {},
        "problems": [],
        "config": "",
        "tiktoken": all(os.path.isfile(os.path.join(cache, "tiktoken-encodings", name)) for name in TIKTOKEN),
        "shared": shared_folder.look(hub),
        "flat": bool(_models(cache)) and not _models(hub),
        "owner": _owner(),
    }
    model = os.path.join(hub, "models--" + args["model"].replace("/", "--"))
    answer["locked"], answer["readable"] = _locked(hub, model)
    answer["main"] = _text(os.path.join(model, "refs", "main"))
    commit = _commit(model, args.get("revision") or "main")
    if not commit:
        return answer
    answer["commit"] = commit
    snapshot = os.path.join(model, "snapshots", commit)
    for folder, _, names in os.walk(snapshot):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, snapshot)
            try:
                answer["files"][relative] = os.stat(path).st_size
                digest = os.path.basename(os.readlink(path)) if os.path.islink(path) else ""
                if len(digest) in (40, 64) and not digest.strip("0123456789abcdef"):
                    answer["blobs"][relative] = digest
            except OSError:
                answer["problems"].append(relative + " is a link to nothing")
    answer["problems"] += _missing(snapshot, answer["files"])
    if answer["files"].get("config.json", MAX_CONFIG + 1) <= MAX_CONFIG:
        answer["config"] = _text(os.path.join(snapshot, "config.json"))
    return answer


def _locked(hub, model):
    """(The first folder on the way to the files that the user may not use, whether all can be read)."""
    locked, readable = "", True
    inside = [os.path.join(model, name) for name in ("blobs", "refs", "snapshots")]
    inside += _entries(inside[2])
    for folder in (hub, model, *inside):
        if os.path.isdir(folder):
            readable = readable and os.access(folder, os.R_OK | os.X_OK)
            if not locked and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                locked = folder
    if not all(os.access(file, os.R_OK) for file in _entries(inside[0]) if os.path.isfile(file)):
        locked, readable = locked or model, False
    return locked, readable


def _entries(folder):
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except OSError:
        return []


def _owner():
    user = pwd.getpwuid(os.getuid())
    try:
        return "%s:%s" % (user.pw_name, grp.getgrgid(user.pw_gid).gr_name)
    except KeyError:
        return "%s:%d" % (user.pw_name, user.pw_gid)


def _commit(model, revision):
    """What the cache knows the revision as; a commit is its own name when its snapshot is there."""
    if not hub_names.is_path(revision):
        return ""
    if hub_names.is_commit(revision) and os.path.isdir(os.path.join(model, "snapshots", revision)):
        return revision
    found = _text(os.path.join(model, "refs", *revision.split("/")))
    return found if hub_names.is_commit(found) else ""


def _models(hub):
    try:
        names = sorted(os.listdir(hub))
    except OSError:
        return []
    return [n[len("models--") :].replace("--", "/", 1) for n in names if n.startswith("models--")]


def _missing(snapshot, files):
    problems = []
    if "config.json" not in files:
        problems.append("config.json is missing")
    shards = [name for name in files if name.endswith(".safetensors") and "/" not in name]
    index = _text(os.path.join(snapshot, "model.safetensors.index.json"))
    if index:
        try:
            shards = sorted(set(json.loads(index)["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError):
            problems.append("model.safetensors.index.json cannot be read")
    if not shards:
        problems.append("no safetensors files")
    for name in shards:
        if name not in files:
            problems.append(name + " is missing")
        else:
            wanted = _whole_size(os.path.join(snapshot, name))
            if wanted != files[name]:
                problems.append("%s has %d bytes of %s" % (name, files[name], wanted or "unknown"))
    return problems


def _whole_size(path):
    try:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > MAX_HEADER:
                return None
            header = json.loads(handle.read(length))
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return None
    return 8 + length + max(ends, default=0)


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().strip()
    except OSError:
        return ""
