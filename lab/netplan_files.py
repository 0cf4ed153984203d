"""A node's /etc/netplan: NetworkManager's own files, and the owner's for the cable."""

import uuid

from lab import names
from lab.cabling import Wire
from lab.variants import Variant

MODE = 0o600

_DESKTOP = """\
# Let NetworkManager manage all devices on this system
network:
  version: 2
  renderer: NetworkManager
"""

_PROFILE = """\
network:
  version: 2
  ethernets:
    NM-{uuid}:
      renderer: NetworkManager
      match:
        name: "{netdev}"
      dhcp4: true
      dhcp6: true
      wakeonlan: true
      networkmanager:
        uuid: "{uuid}"
        name: "Wired connection 1"
        passthrough:
          connection.timestamp: "1764147621"
          ethernet._: ""
          ipv6.addr-gen-mode: "default"
          ipv6.ip6-privacy: "-1"
          proxy._: ""
"""


def files(lab: str, node: str, wires: tuple[Wire, ...], variant: Variant) -> dict[str, str]:
    """Return {file name: text}, as Ubuntu's desktop has them after the first-boot wizard.

    The owner's 40-cx7.yaml is there only where the cable has addresses: a fresh Spark has none.
    """
    profile = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{lab}/{node}"))
    written = {
        "01-network-manager-all.yaml": _DESKTOP,
        f"90-NM-{profile}.yaml": _PROFILE.format(uuid=profile, netdev=names.MANAGEMENT),
    }
    cabled = [wire for wire in wires if wire.address and wire.netdev != names.MANAGEMENT]
    if cabled:
        lines = ["network:", "  version: 2", "  ethernets:"]
        for wire in cabled:
            lines.append(f"    {wire.netdev}:")
            if variant.addresses == "link-local":
                lines.append("      link-local: [ipv4]")
            else:
                lines.append(f"      addresses: [{wire.address}]")
            if variant.mtu != 1500:
                lines.append(f"      mtu: {variant.mtu}")
        written["40-cx7.yaml"] = "\n".join(lines) + "\n"
    return written
