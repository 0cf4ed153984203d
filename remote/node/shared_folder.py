"""By what another node can tell that it has the same folder: from a file server, or from this machine."""

import contextlib
import os
import re

MOUNTS = "/proc/self/mountinfo"
NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "wekafs", "gfs2"),
    *("ocfs2", "fuse.glusterfs", "fuse.cephfs", "fuse.sshfs", "fuse.juicefs", "fuse.rclone", "fuse.mfs"),
)


def look(path):
    """{"network": whether it is mounted from elsewhere, "names": what it can be known by}.

    A server's inode number and modification time are the same on every machine that has the folder by NFS,
    and on the one that exports it; two machines may call the server differently. Others (CIFS, sshfs) are
    known by what was mounted. The folder need not be there yet.
    """
    there = os.path.realpath(path)
    left: list[str] = []
    while not os.path.isdir(there):
        there, last = os.path.split(there)
        left.insert(0, last)
    with contextlib.suppress(OSError):
        os.listdir(there)  # an NFS client asks its server again when a folder is opened
    about = os.stat(there)
    names = [" ".join(("%d at %d" % (about.st_ino, about.st_mtime_ns), *left))]
    mount = _mount(there)
    network = mount is not None and mount["type"] in NETWORK
    if network:
        below = os.path.relpath(there, mount["point"])
        inside = os.path.normpath("/".join((mount["root"].rstrip("/"), below, *left)))
        if not re.match(r"(//)?(localhost|127\.|\[?::1)", mount["source"]):
            names.append("%s %s" % (mount["source"].rstrip("/"), inside))
    return {"network": network, "names": names}


def _mount(path):
    """The mount that `path` is on; of several at one place, the last covers the others."""
    best = None
    for line in _lines(MOUNTS):
        before, _, after = line.partition(" - ")
        own, more = before.split(), after.split()
        if len(own) < 5 or len(more) < 2:
            continue
        point = _plain(own[4])
        if path != point and not path.startswith(point.rstrip("/") + "/"):
            continue
        if best is None or len(point) >= len(best["point"]):
            best = {"root": _plain(own[3]), "point": point, "type": more[0], "source": _plain(more[1])}
    return best


def _plain(text):
    r"""mountinfo writes a blank as \040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _lines(path):
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as handle:
        return handle.read().splitlines()
    return []
