"""How much every RDMA device has moved: the adapters' own counters, in bytes since the driver came up.

/sys/class/infiniband/HCA/ports/1/counters/port_{xmit,rcv}_data count in units of four bytes.
"""

import os

ROOT = "/sys/class/infiniband"
BYTES_PER_UNIT = 4


def look(args):
    """{HCA: [sent, received]} of those that can be read."""
    root = args.get("root", ROOT)
    found = {}
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        folder = os.path.join(root, name, "ports", "1", "counters")
        try:
            found[name] = [_read(os.path.join(folder, "port_%s_data" % way)) for way in ("xmit", "rcv")]
        except (OSError, ValueError):
            continue
    return found


def _read(path):
    with open(path, encoding="ascii") as handle:
        return int(handle.read()) * BYTES_PER_UNIT
