#!/usr/bin/python3 -I
"""Gives a node's interfaces what /etc/netplan says: stands in for NetworkManager.

  network-settings            at boot
  network-settings --restart  as `netplan apply`: the management interface is without its IPv4
                              address for a second, as recorded of Sparks

As NetworkManager with netplan: an interface that no file names has its automatic profile (DHCP, MTU
1500). DHCP answers on the management network only, with the address of /etc/lab/dhcp. Addresses that
no file names are taken away, whoever set them.
"""

import fnmatch
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

FOLDERS = (Path("/usr/lib/netplan"), Path("/etc/netplan"), Path("/run/netplan"))
LEASES = Path("/etc/lab/dhcp")
"""Lines "INTERFACE ADDRESS/PREFIX GATEWAY"."""
MANAGEMENT_GAP_S = 1.0
DEFAULT_MTU = 1500
AUTOMATIC = {"dhcp4": True}

Json = dict[str, Any]


def merge(below: Any, above: Any) -> Any:
    """One netplan file over another: mappings merge, lists add up, all else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return below + [item for item in above if item not in below]
    return above


def configured() -> Json:
    """All netplan files in one: by name, a later folder's in place of an earlier one's."""
    files = {path.name: path for folder in FOLDERS for path in sorted(folder.glob("*.yaml"))}
    whole: Json = {}
    for _, path in sorted(files.items()):
        try:
            whole = merge(whole, yaml.safe_load(path.read_text()) or {})
        except yaml.YAMLError as error:  # at boot the real generator stops here, too
            print(f"{path}: {error}", file=sys.stderr)
    return dict(whole.get("network") or {})


def definition_of(link: Json, ethernets: Json) -> Json:
    """What netplan says about an interface; the one that names it outright before those that match."""
    named = ethernets.get(link["ifname"])
    if named is not None and "match" not in named:
        return dict(named)
    for definition in ethernets.values():
        match = (definition or {}).get("match")
        if match is None:
            continue
        name, mac = match.get("name", "*"), match.get("macaddress", link["address"])
        if fnmatch.fnmatchcase(link["ifname"], name) and mac.lower() == link["address"]:
            return dict(definition)
    return dict(AUTOMATIC)


def link_local(mac: str) -> str:
    high, low = (int(octet, 16) for octet in mac.split(":")[-2:])
    return f"169.254.{1 + high % 254}.{low}/16"


def leases() -> dict[str, tuple[str, str]]:
    rows = [line.split() for line in LEASES.read_text().splitlines()] if LEASES.exists() else []
    return {netdev: (address, gateway) for netdev, address, gateway in rows}


def commands(link: Json, definition: Json, lease: tuple[str, str] | None) -> list[str]:
    """Lines for `ip -batch` that make `link` what its definition says."""
    name = link["ifname"]
    addresses = [next(iter(a)) if isinstance(a, dict) else a for a in definition.get("addresses", [])]
    wanted = [address for address in addresses if ":" not in address]
    routes = []
    if definition.get("dhcp4") and lease:
        wanted.append(lease[0])
        routes.append(f"route replace default via {lease[1]} dev {name} proto dhcp metric 100")
    if not wanted and "ipv4" in definition.get("link-local", []):
        wanted.append(link_local(link["address"]))
    present = [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["family"] == "inet"]
    lines = [f"addr del {address} dev {name}" for address in present if address not in wanted]
    mtu = definition.get("mtu", DEFAULT_MTU)
    if mtu != link["mtu"]:
        lines.append(f"link set {name} mtu {mtu}")
    if "UP" not in link["flags"]:
        lines.append(f"link set {name} up")
    lines += [f"addr add {address} brd + dev {name}" for address in wanted if address not in present]
    for route in definition.get("routes", []):
        via = f" via {route['via']}" if "via" in route else ""
        routes.append(f"route replace {route['to']}{via} dev {name} metric {route.get('metric', 100)}")
    return lines + routes


def apply(*, only: str = "", besides: str = "") -> None:
    network, leased = configured(), leases()
    shown = subprocess.run(["/usr/sbin/ip", "-j", "addr"], capture_output=True, check=True)
    lines = []
    for link in json.loads(shown.stdout):
        name = link["ifname"]
        if not name.startswith(("enp", "enP")) or name == besides or (only and name != only):
            continue
        definition = definition_of(link, network.get("ethernets") or {})
        if definition.get("activation-mode") in (None, "auto"):
            lines += commands(link, definition, leased.get(name))
    if lines:  # one that the kernel refuses does not keep the others from being set
        batch = ["/usr/sbin/ip", "-force", "-batch", "-"]
        subprocess.run(batch, input="\n".join(lines) + "\n", text=True, check=False)


def main() -> None:
    if "--restart" not in sys.argv:
        apply()
        return
    for management in leases():
        subprocess.run(["/usr/sbin/ip", "-4", "addr", "flush", "dev", management], check=True)
        apply(besides=management)
        time.sleep(MANAGEMENT_GAP_S)
        apply(only=management)


if __name__ == "__main__":
    main()
