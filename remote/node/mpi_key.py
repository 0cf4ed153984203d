"""The head's side of MPI: a key pair of which the private half only ever exists as a Docker secret.

Made in memory-backed /dev/shm, given to `docker secret create` on standard input, and gone. Runs on the
head, so the key never leaves it. The public half is kept as the secret's label, to be adopted later.
"""

import json
import os
import shutil
import subprocess
import tempfile

from remote.node import stop

LABEL = "trtspark.public-key"
TIMEOUT_S = 30


def main(args):
    """`args`: {"action": "make" | "look" | "drop", "name", "stack"}; {"public": "ssh-ed25519 …"}, which is
    "" for drop and where "look" finds no key of ours.
    """
    if args["action"] == "drop":
        _docker(["secret", "rm", args["name"]], may_fail=True)
        return {"public": ""}
    found = _docker(["secret", "inspect", args["name"]], may_fail=True)
    public = ""
    if found.returncode == 0:
        public = (json.loads(found.stdout)[0]["Spec"].get("Labels") or {}).get(LABEL, "")
    if public or args["action"] == "look":
        return {"public": public}
    if found.returncode == 0:
        raise stop.Stop("the Docker secret %s is there but is not ours. Remove or rename it." % args["name"])
    folder = tempfile.mkdtemp(prefix="trtspark-", dir="/dev/shm")
    try:
        path = os.path.join(folder, "key")
        made = subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "trtspark-mpi", "-f", path],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if made.returncode:
            raise stop.Stop("ssh-keygen failed: %s" % made.stderr.strip())
        with open(path + ".pub", encoding="utf-8") as handle:
            public = " ".join(handle.read().split()[:2])
        with open(path, "rb") as handle:
            private = handle.read()
    finally:
        shutil.rmtree(folder)
    labels = ["--label", "trtspark.stack=" + args["stack"], "--label", "%s=%s" % (LABEL, public)]
    _docker(["secret", "create", *labels, args["name"], "-"], private)
    return {"public": public}


def _docker(words, data=None, may_fail=False):
    done = subprocess.run(
        ["docker", *words],
        input=data,
        stdin=None if data else subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode and not may_fail:
        raise stop.Stop(
            "docker %s failed: %s" % (" ".join(words[:2]), done.stderr.decode(errors="replace").strip())
        )
    return done
