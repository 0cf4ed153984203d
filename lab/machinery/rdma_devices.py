#!/usr/bin/python3 -IS
"""Write what the kernel's RDMA stack would show in /sys/class of a Spark's ConnectX-7.

Recorded facts: four devices, two per QSFP cage; a cabled port says `4: ACTIVE` and 200 Gb/sec, one
without a cable `1: DOWN`, `3: Disabled` and 40 Gb/sec; MT4129, firmware 28.45.4028; GIDs 0 and 1 are
made from the MAC address, 2 and 3 (RoCE v1 and v2) from the IPv4 address and there only with one. As in the
kernel's table an entry keeps its place while its address is there, and a new one takes the first free place:
an index moves when an address comes back while a queue pair holds the old entry (HELD_GIDS).
On a real machine the types of unused GIDs cannot be read; here their files are missing.
"""

import ipaddress
import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

CLASS = Path("/sys/class/infiniband")
VERBS = Path("/sys/class/infiniband_verbs")
DRAFT = Path("/sys/class/.rdma-devices")  # outside the folders that programs list
SHOWN = Path("/etc/lab/rdma.json")
"""{"rate": Gb/s, "cable": whether the ConnectX-7 is switched on, "renamed": whether it is mlx5_*,
"pcie": the link of the second domain's functions, "x2" or "16GT", or "" as on a healthy Spark}."""
HELD_GIDS = Path("/etc/lab/held-gids")
"""Places that no new entry can take, as text; a fault writes it."""
PORTS = {
    "rocep1s0f0": "enp1s0f0np0",
    "rocep1s0f1": "enp1s0f1np1",
    "roceP2p1s0f0": "enP2p1s0f0np0",
    "roceP2p1s0f1": "enP2p1s0f1np1",
}
DEVICE = {
    "node_type": "1: CA",
    "fw_ver": "28.45.4028",
    "hca_type": "MT4129",
    "hw_rev": "0",
    "board_id": "NVD0000000087",
    "device/vendor": "0x15b3",
    "device/device": "0x1021",
    "device/numa_node": "-1",
}
PCIE = {
    "device/current_link_speed": "32.0 GT/s PCIe",
    "device/current_link_width": "4",
    "device/max_link_speed": "32.0 GT/s PCIe",
    "device/max_link_width": "4",
}
"""Gen5 x4, as `lspci` shows it for all four functions of a Founders Edition."""
DEGRADED = {
    "x2": {"device/current_link_width": "2"},
    "16GT": {"device/current_link_speed": "16.0 GT/s PCIe"},
}
"""What differs on a narrow link (reported of an ASUS GX10) and on one that came up as Gen4."""
SECOND_DOMAIN = "roceP2"
"""The functions that are degraded: those of PCI domain 0002, as in the report."""
GIDS = 8
"""As many are shown at least; a real port shows 256."""
RATES = {100: "100 Gb/sec (4X EDR)", 200: "200 Gb/sec (4X HDR)"}
ACTIVE = {"state": "4: ACTIVE", "phys_state": "5: LinkUp"}
DOWN = {"state": "1: DOWN", "phys_state": "3: Disabled", "rate": "40 Gb/sec (4X QDR)"}
COUNTERS = (
    "counters/port_xmit_data",  # in units of four bytes
    "counters/port_rcv_data",
    "counters/port_xmit_packets",
    "counters/port_rcv_packets",
    "counters/symbol_error",
    "counters/link_downed",
    "hw_counters/out_of_sequence",
    "hw_counters/packet_seq_err",
    "hw_counters/local_ack_timeout_err",
    "hw_counters/rnr_nak_retry_err",
    "hw_counters/implied_nak_seq_err",
    "hw_counters/roce_adp_retrans",
    "hw_counters/roce_adp_retrans_to",
    "hw_counters/rx_icrc_encapsulated",
    "hw_counters/np_cnp_sent",
    "hw_counters/np_ecn_marked_roce_packets",
    "hw_counters/rp_cnp_handled",
)


def write(path: Path, text: str) -> None:
    """Put `text` there at once; readers never see half of it."""
    if path.exists() and path.read_text() == text + "\n":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    DRAFT.write_text(text + "\n")
    DRAFT.chmod(0o644)
    DRAFT.rename(path)


def full(address: str) -> str:
    return ipaddress.IPv6Address(address).exploded


def guid(mac: str) -> str:
    """EUI-64 of a MAC address as four groups, as in `node_guid`."""
    octets = [int(word, 16) for word in mac.split(":")]
    octets = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
    return ":".join(f"{high:02x}{low:02x}" for high, low in zip(octets[::2], octets[1::2], strict=True))


def gids(link: dict[str, Any]) -> list[tuple[str, str]]:
    """[(gid, type), …]: what the kernel makes of a port's MAC address and its IPv4 addresses, in order."""
    own = full("fe80::" + guid(link["address"]))
    table = [(own, "IB/RoCE v1"), (own, "RoCE v2")]
    for address in link.get("addr_info", []):
        if address["family"] == "inet":
            mapped = full("::ffff:" + address["local"])
            table += [(mapped, "IB/RoCE v1"), (mapped, "RoCE v2")]
    return table


def placed(
    wanted: list[tuple[str, str]], before: dict[int, tuple[str, str]], held: set[int]
) -> dict[int, tuple[str, str]]:
    """The table: what is wanted and there stays in its place, what is new takes the first free one."""
    table = {index: entry for index, entry in before.items() if entry in wanted}
    for entry in wanted:
        if entry not in table.values():
            table[next(index for index in itertools.count() if index not in {*table, *held})] = entry
    return table


def table_of(port: Path) -> dict[int, tuple[str, str]]:
    """What the port shows now."""
    kinds = {int(file.name): file.read_text().strip() for file in port.glob("gid_attrs/types/*")}
    return {index: ((port / f"gids/{index}").read_text().strip(), kind) for index, kind in kinds.items()}


def write_port(port: Path, netdev: str, link: dict[str, Any], rate: str) -> None:
    active = {**ACTIVE, "rate": rate}
    for file, text in (active if link["operstate"] == "UP" else DOWN).items():
        write(port / file, text)
    write(port / "link_layer", "Ethernet")
    for counter in COUNTERS:
        if not (port / counter).exists():
            write(port / counter, "0")
    held = {int(word) for word in HELD_GIDS.read_text().split()} if HELD_GIDS.exists() else set()
    table = placed(gids(link), table_of(port), held)
    for index, (gid, kind) in table.items():
        write(port / f"gids/{index}", gid)
        write(port / f"gid_attrs/types/{index}", kind)
        write(port / f"gid_attrs/ndevs/{index}", netdev)
    for unused in set(range(max(GIDS, *(index + 1 for index in table)))) - set(table):
        write(port / f"gids/{unused}", full("::"))
        (port / f"gid_attrs/types/{unused}").unlink(missing_ok=True)
        (port / f"gid_attrs/ndevs/{unused}").unlink(missing_ok=True)


def main() -> None:
    wanted = json.loads(SHOWN.read_text())
    if not wanted["cable"]:
        return
    shown = subprocess.run(["/usr/sbin/ip", "-j", "addr"], capture_output=True, check=True)
    links = {link["ifname"]: link for link in json.loads(shown.stdout)}
    for number, (own_name, netdev) in enumerate(PORTS.items()):
        name = f"mlx5_{number}" if wanted["renamed"] else own_name
        base, verbs, device = CLASS / name, VERBS / f"uverbs{number}", Path(f"/dev/infiniband/uverbs{number}")
        degraded = DEGRADED.get(wanted.get("pcie", ""), {}) if own_name.startswith(SECOND_DOMAIN) else {}
        for file, text in {**DEVICE, **PCIE, **degraded}.items():
            write(base / file, text)
        write(base / "node_guid", guid(links[netdev]["address"]))
        (base / "device/net" / netdev).mkdir(parents=True, exist_ok=True)
        write_port(base / "ports/1", netdev, links[netdev], RATES[wanted["rate"]])
        write(verbs / "ibdev", name)
        write(verbs / "abi_version", "1")
        numbers = device.stat().st_rdev
        write(verbs / "dev", f"{os.major(numbers)}:{os.minor(numbers)}")


if __name__ == "__main__":
    main()
