"""One node's compiled kernels: a program of its own, which kernels.py sends to every rank's container.

`serve VOLUME LINK KEY` prints what is there, then does what each line of standard input asks for and prints
the outcome: one JSON object a line. `seal VOLUME KEY ID` marks the folder as good. Without a KEY ("")
nothing is kept.

VOLUME/KEY/files is what the engine sees through LINK. VOLUME/KEY/sealed holds the id of the start that has
answered with these files; it is removed at the next start. The time of VOLUME/KEY/used is that of the last
start.
"""

import json
import os
import re
import shutil
import sys
import tempfile

#: A model's caches are expected to take 1 to 4 GiB (not measured on a Spark yet; CUDA's own part ends at 1
#: GiB), so this holds some models' beside weights of 60 GB each.
LIMIT_BYTES = 20 << 30
#: With less room left on the disk the engine could not write what it compiles.
LEAST_FREE_BYTES = 2 << 30
#: Names of kernels.py's keys: nothing else in the volume is touched.
KEY = re.compile(r"[0-9a-f]{12}-[A-Za-z0-9._-]+-rank-\d+")
REUSE, ANEW, WITHOUT = "reuse", "anew", "without"
_PRIVATE = "/tmp/trtspark-kernels"


def look(volume, key):
    """{"sealed": the id of the start that answered with this folder, "" for none; "removed": the number of
    folders removed to make room; "trouble": why nothing can be kept here, "" where it can}.
    """
    if not key:
        return {"sealed": "", "removed": 0, "trouble": ""}
    try:
        return _look(volume, key)
    except OSError as error:
        return {"sealed": "", "removed": 0, "trouble": str(error)}


def _look(volume, key):
    folder = os.path.join(volume, key)
    removed = _prune(volume, key)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as handle:
        handle.write(b"\0" * 65536)
    free = shutil.disk_usage(volume).free
    trouble = ""
    if free < LEAST_FREE_BYTES:
        trouble = "only %.1f GiB are free on Docker's disk" % (free / (1 << 30))
    sealed = _read(os.path.join(folder, "sealed"))
    if sealed and not _sound(os.path.join(folder, "files")):
        sealed = ""
    return {"sealed": sealed, "removed": removed, "trouble": trouble}


def open_(volume, link, key, how):
    """Link the engine to the key's folder as it is (REUSE), emptied (ANEW), or to a folder of the container
    (WITHOUT). The folder is no longer sealed. {"trouble": as above}.
    """
    folder = os.path.join(volume, key)
    target = os.path.join(folder, "files")
    try:
        if how == WITHOUT:
            target = _PRIVATE
            shutil.rmtree(target, ignore_errors=True)
        else:
            unseal(volume, key)
            if how == ANEW:
                shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(target, exist_ok=True)
        if how != WITHOUT:
            _write(os.path.join(folder, "used"), "")
        _lead(link, target)
    except OSError as error:
        return {"trouble": str(error)}
    return {"trouble": ""}


def seal(volume, key, start):
    """Mark the folder as good. Its files reach the disk first: a power cut leaves no mark without them."""
    os.sync()
    _write(os.path.join(volume, key, "sealed"), start)


def unseal(volume, key):
    """Do not trust what is in the folder until a start has answered with it."""
    try:
        os.unlink(os.path.join(volume, key, "sealed"))
    except FileNotFoundError:
        return
    _flush(os.path.join(volume, key))


def size(folder):
    """Bytes on the disk."""
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.lstat(os.path.join(at, name)).st_blocks * 512
            except OSError:
                continue  # just gone
    return found


def _sound(folder):
    """Whether no file is visibly half written. A server may have been killed while it compiled more, and a
    rank that fails with such a file lets the others wait for it.
    """
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            if name.endswith((".so", ".cubin")) and not os.path.getsize(path):
                return False
            if name.startswith("autotuner") and name.endswith(".json"):
                try:
                    with open(path, encoding="utf-8") as handle:
                        json.load(handle)
                except ValueError:
                    return False
    return True


def _prune(volume, own):
    """Remove the least recently used folders until there is room. Returns the number removed."""
    others = sorted(
        (entry for entry in os.listdir(volume) if KEY.fullmatch(entry) and entry != own), key=_age(volume)
    )
    total = {name: size(os.path.join(volume, name)) for name in others}
    mine = size(os.path.join(volume, own))
    removed = 0
    if mine > LIMIT_BYTES:
        shutil.rmtree(os.path.join(volume, own), ignore_errors=True)
        mine, removed = 0, 1
    for name in others:
        full = shutil.disk_usage(volume).free < LEAST_FREE_BYTES
        if mine + sum(total.values()) <= LIMIT_BYTES and not full:
            break
        shutil.rmtree(os.path.join(volume, name), ignore_errors=True)
        removed += 1
        del total[name]
    return removed


def _age(volume):
    def when(name):
        try:
            return os.stat(os.path.join(volume, name, "used")).st_mtime
        except OSError:
            return 0.0

    return when


def _lead(link, target):
    """Replace the link in one step. An engine that started without one made a folder in its place."""
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if os.path.isdir(link) and not os.path.islink(link):
        shutil.rmtree(link)
    new = link + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(target, new)
    os.replace(new, link)


def _read(path):
    try:
        with open(path, encoding="ascii") as handle:
            return handle.read(64).strip()
    except (OSError, ValueError):
        return ""


def _write(path, text):
    with open(path + ".new", "w", encoding="ascii") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(path + ".new", path)
    _flush(os.path.dirname(path))


def _flush(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(words):
    """See the module's first lines."""
    if words[0] == "seal":
        seal(*words[1:])
        return
    _, volume, link, key = words
    print(json.dumps(look(volume, key)), flush=True)
    for line in sys.stdin:
        print(json.dumps(open_(volume, link, key, line.strip())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
