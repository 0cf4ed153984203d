"""The counters of every RDMA device: how much it has moved, and what went wrong, since the driver came up.

/sys/class/infiniband/HCA/ports/1/counters/port_{xmit,rcv}_data count in units of four bytes. What the names
mean: NVIDIA's "Understanding mlx5 Linux Counters and Status Parameters".
"""

import os

ROOT = "/sys/class/infiniband"
BYTES_PER_UNIT = 4
#: Of the port itself: bits that were lost, and packets that went through.
COUNTERS = (
    "symbol_error",
    "link_error_recovery",
    "link_downed",
    "port_rcv_errors",
    "port_xmit_discards",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "port_rcv_packets",
    "port_xmit_packets",
)
#: Of RoCE: what came out of order, what was sent again, and notices of congestion (CNP).
HW_COUNTERS = (
    "out_of_sequence",
    "packet_seq_err",
    "local_ack_timeout_err",
    "rnr_nak_retry_err",
    "implied_nak_seq_err",
    "roce_adp_retrans",
    "roce_adp_retrans_to",
    "rx_icrc_encapsulated",
    "np_cnp_sent",
    "np_ecn_marked_roce_packets",
    "rp_cnp_handled",
)


def look(args):
    """{HCA: [sent, received]} of those that can be read."""
    root = args.get("root", ROOT)
    found = {}
    for name in _devices(root):
        folder = os.path.join(root, name, "ports", "1", "counters")
        try:
            found[name] = [
                BYTES_PER_UNIT * _read(os.path.join(folder, "port_%s_data" % way)) for way in ("xmit", "rcv")
            ]
        except (OSError, ValueError):
            continue
    return found


def errors(args):
    """{HCA: {counter: number}} of those counters that the kernel shows for port 1."""
    root = args.get("root", ROOT)
    return {name: of_port(os.path.join(root, name, "ports", "1")) for name in _devices(root)}


def of_port(port):
    """{counter: number} of a port's folder."""
    found = {}
    for folder, names in (("counters", COUNTERS), ("hw_counters", HW_COUNTERS)):
        for name in names:
            try:
                found[name] = _read(os.path.join(port, folder, name))
            except (OSError, ValueError):
                continue
    return found


def _devices(root):
    return sorted(os.listdir(root)) if os.path.isdir(root) else []


def _read(path):
    with open(path, encoding="ascii") as handle:
        return int(handle.read(64))
