"""Network interfaces and NCCL's way of choosing among them (NCCL_SOCKET_IFNAME)."""

import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

_SIOCGIFADDR, _SIOCGIFFLAGS, _SIOCGIFNETMASK, _UP = 0x8915, 0x8913, 0x891B, 0x1
MAX_INTERFACES = 16
"""NCCL's MAX_IFS."""


@dataclass(frozen=True)
class Interface:
    """An interface that is up and has an IPv4 address."""

    name: str
    address: str
    netmask: str = ""

    @property
    def network(self) -> str:
        """The subnet it is in, "" when its mask is not known."""
        return str(IPv4Interface(f"{self.address}/{self.netmask}").network) if self.netmask else ""

    def __str__(self) -> str:
        return f"{self.name}:{self.address}<0>"


@dataclass(frozen=True)
class Pattern:
    """A filter like NCCL_IB_HCA or NCCL_SOCKET_IFNAME: names by prefix, `=` exact, `^` all but."""

    names: tuple[tuple[str, int], ...]  # (name, port), port -1 = any
    exact: bool = False
    excluded: bool = False

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """From the variable's text: `[^][=]name[:port],…`."""
        excluded = text.startswith("^")
        text = text[1:] if excluded else text
        exact = text.startswith("=")
        text = text[1:] if exact else text
        names = []
        for item in filter(None, text.split(",")):
            name, _, port = item.partition(":")
            names.append((name, int(port) if port.isdecimal() else -1))
        return cls(tuple(names), exact, excluded)

    def accepts(self, name: str, port: int = -1) -> bool:
        """Whether the filter lets a device or an interface through; no names let all through."""
        if not self.names:
            return True
        hit = any(
            (name == wanted if self.exact else name.startswith(wanted))
            and (wanted_port in (-1, port) or port == -1)
            for wanted, wanted_port in self.names
        )
        return hit != self.excluded


def all_interfaces() -> list[Interface]:
    """The machine's own, in the kernel's order."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = fcntl.ioctl(asker, _SIOCGIFFLAGS, request)[16:18]
                address = fcntl.ioctl(asker, _SIOCGIFADDR, request)[20:24]
                mask = fcntl.ioctl(asker, _SIOCGIFNETMASK, request)[20:24]
            except OSError:  # no IPv4 address, or gone meanwhile
                continue
            if struct.unpack("H", flags)[0] & _UP:
                found.append(Interface(name, socket.inet_ntoa(address), socket.inet_ntoa(mask)))
    return found


def choose(pattern: str | None, present: Sequence[Interface]) -> list[Interface]:
    """The interfaces NCCL uses for sockets; an empty list when a given pattern fits none.

    Without a pattern: names that begin with `ib`, else all but docker and loopback, else those.
    """
    if pattern:
        wanted = Pattern.parse(pattern)
        return [i for i in present if wanted.accepts(i.name)][:MAX_INTERFACES]
    for text in ("ib", "^docker,lo", "docker", "lo"):
        automatic = Pattern.parse(text)
        if found := [i for i in present if automatic.accepts(i.name)]:
            return found[:MAX_INTERFACES]
    return []
