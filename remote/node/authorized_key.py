"""Lets one more public key log in as this user, as ssh-copy-id does; what is there stays as it is."""

import os
import stat

from remote.node import node_lock, whole_file


def main(args):
    """`args`: {"key": one line, "ssh-ed25519 AAAA… comment"}. {"added": bool}."""
    with node_lock.held():
        return {"added": add(args["key"].strip())}


def add(key):
    folder = os.path.expanduser("~/.ssh")
    path = os.path.realpath(os.path.join(folder, "authorized_keys"))  # a link stays a link
    os.makedirs(folder, mode=0o700, exist_ok=True)
    before = whole_file.content(path)
    blob = key.split()[1].encode()
    lines = (before or b"").splitlines()
    if any(blob in line.split() for line in lines if not line.lstrip().startswith(b"#")):
        return False
    between = b"\n" if before and not before.endswith(b"\n") else b""
    mode = 0o600 if before is None else stat.S_IMODE(os.stat(path).st_mode)
    whole_file.write(path, (before or b"") + between + key.encode() + b"\n", mode, was=before)
    return True
