"""The network interfaces of this machine's RDMA devices: one for each half of each cable."""

import glob
import os


def look(args):
    """{"interfaces": [names]} of those that are up."""
    found = set()
    for path in glob.glob("/sys/class/infiniband/*/device/net/*"):
        name = os.path.basename(path)
        try:
            with open("/sys/class/net/%s/operstate" % name) as handle:
                up = handle.read().strip() == "up"
        except OSError:
            up = False
        if up:
            found.add(name)
    return {"interfaces": sorted(found)}
