"""Lets one more public key log in as this user, as ssh-copy-id does; what is there stays as it is."""

import os


def main(args):
    """`args`: {"key": one line, "ssh-ed25519 AAAA… comment"}. {"added": bool}."""
    folder = os.path.expanduser("~/.ssh")
    path = os.path.join(folder, "authorized_keys")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    before = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            before = handle.read()
    blob = args["key"].split()[1]
    if any(blob in line.split() for line in before.splitlines() if not line.lstrip().startswith("#")):
        return {"added": False}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "a", encoding="utf-8") as handle:
        handle.write(("\n" if before and not before.endswith("\n") else "") + args["key"].strip() + "\n")
    return {"added": True}
