"""The head's own ssh client in a folder that rank 0's container mounts, for images that have none.

The binary, the libraries that `ldd` lists and their loader: started through that loader it needs nothing of
the image's C library. Every set of files has its own folder, named by their content, and `current` leads to
the one in use, so that a container never sees half of it.
"""

import contextlib
import hashlib
import os
import re
import shutil

from remote.node import as_root, node_lock, stop

TIMEOUT_S = 30
LOADER = "ld.so"
BINARY = "client"
#: Named `ssh`, because mpirun treats agents of that name as what they are. Only variables of the dynamic
#: linker and a foreign OpenSSL configuration could reach into the client from the image.
START = """\
#!/bin/sh
here=${0%/*}
unset LD_PRELOAD LD_LIBRARY_PATH
OPENSSL_CONF=/dev/null
export OPENSSL_CONF
exec "$here/ld.so" --library-path "$here/lib" "$here/client" "$@"
"""
_LINKED = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.M)
_MISSING = re.compile(r"^\s*(\S+) => not found$", re.M)


def main(args):
    with node_lock.held():
        return act(args)


def act(args):
    """`args`: {"action": "bring" | "look" | "drop", "folder": below the home folder}; {"state"}: "current",
    "older" than the system's client, "missing".
    """
    folder = os.path.join(os.path.expanduser("~"), args["folder"])
    if args["action"] == "drop":
        return drop(folder)
    files = parts()
    name = fingerprint(files)
    if args["action"] == "bring":
        bring(folder, name, files)
    return {"state": state(folder, name)}


def state(folder, name):
    """What `current` leads to, beside `name`, the system's client as it is now. What a run that was cut off
    left beside it is older, too.
    """
    current = os.path.join(folder, "current")
    if not os.access(os.path.join(current, "ssh"), os.X_OK):
        return "missing"
    alone = set(os.listdir(folder)) == {name, "current"}
    return "current" if alone and os.path.basename(os.path.realpath(current)) == name else "older"


def parts():
    """{name in our folder: path} of the system's client."""
    ssh = shutil.which("ssh", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")
    if ssh is None:
        raise stop.Stop("there is no ssh client. Run there `sudo apt-get install openssh-client`.")
    return linked(ssh, as_root.run(["ldd", ssh], timeout=TIMEOUT_S)["out"])


def linked(ssh, text):
    """Likewise, from what `ldd` printed. Raises Stop where a library is missing or there is no loader."""
    if gone := _MISSING.findall(text):
        raise stop.Stop("%s lacks its library %s. Install openssh-client anew." % (ssh, gone[0]))
    files = {BINARY: ssh}
    for name, path in _LINKED.findall(text):
        loader = os.path.basename(name or path).startswith(("ld-linux", "ld-musl"))
        files[LOADER if loader else "lib/" + os.path.basename(name)] = path
    if LOADER not in files:
        raise stop.Stop("%s is not linked as expected: `ldd %s` names no loader." % (ssh, ssh))
    return files


def fingerprint(files):
    """The files' names and contents, and our own part, in sixteen hex digits."""
    whole = hashlib.sha256(START.encode())
    for name, path in sorted(files.items()):
        with open(path, "rb") as handle:
            whole.update(("%s %s\n" % (name, hashlib.sha256(handle.read()).hexdigest())).encode())
    return whole.hexdigest()[:16]


def bring(folder, name, files):
    """Put the files there, try them, and let `current` lead to them; what was there before goes."""
    place = os.path.join(folder, name)
    new = os.path.join(folder, "new")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.join(new, "lib"), mode=0o755)
    for target, path in files.items():
        shutil.copyfile(path, os.path.join(new, target))
        os.chmod(os.path.join(new, target), 0o755)
    with open(os.path.join(new, "ssh"), "w", encoding="utf-8") as handle:
        handle.write(START)
    os.chmod(os.path.join(new, "ssh"), 0o755)
    tried = as_root.run([os.path.join(new, "ssh"), "-V"], timeout=TIMEOUT_S)
    if tried["rc"]:
        shutil.rmtree(new)
        raise stop.Stop("the copy of the ssh client does not start: %s." % as_root.last(tried))
    shutil.rmtree(place, ignore_errors=True)
    os.rename(new, place)
    link = os.path.join(folder, "current.new")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(name, link)
    os.replace(link, os.path.join(folder, "current"))
    for old in os.listdir(folder):
        if old not in (name, "current"):
            shutil.rmtree(os.path.join(folder, old), ignore_errors=True)


def drop(folder):
    """Remove it, and the folder around it when nothing else is there."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # others of ours are in it, or it was never there
        os.rmdir(os.path.dirname(folder))
    return {"state": "missing"}
