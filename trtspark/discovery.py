"""Finding Sparks: mDNS on this network, and what a Spark sees at the other end of its cable.

What is found is an offer: a person chooses, and the host key decides whether it is the machine.
mDNS by avahi-browse where it is installed, else one question of our own (RFC 6762, DNS records of RFC 1035).
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

SERVICE = "_ssh._tcp.local"
GROUP = ("224.0.0.251", 5353)
WAIT_S = 2.0
#: DNS record types.
A, PTR, SRV = 1, 12, 33


@dataclass(frozen=True)
class Neighbour:
    """A machine that offers ssh: its name, IPv4 address and port."""

    name: str
    address: str
    port: int = 22

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" + (f" port {self.port}" if self.port != 22 else "")


def neighbours(wait: float = WAIT_S) -> list[Neighbour]:
    """Everything on this network that offers ssh by mDNS, once per address that there is a way to; [] where
    nothing can be asked. `wait`: seconds.
    """
    return [one for one in _heard(wait) if _routed(one.address)]


def _heard(wait: float) -> list[Neighbour]:
    if shutil.which("avahi-browse"):
        words = ["avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", "_ssh._tcp"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=wait + 8, check=False)
        except subprocess.TimeoutExpired:
            return []
        if done.returncode == 0:
            return browsed(done.stdout)
    return _asked(wait)


def browsed(text: str) -> list[Neighbour]:
    """From avahi-browse's parsable lines: =;eth0;IPv4;name;_ssh._tcp;local;host.local;address;port;texts."""
    found = {}
    for line in text.splitlines():
        cells = line.split(";")
        if len(cells) >= 9 and cells[0] == "=" and cells[2] == "IPv4" and cells[8].isdecimal():
            one = Neighbour(cells[6].removesuffix(".local"), cells[7], int(cells[8]))
            found[one.address, one.port] = one
    return _sorted(found.values())


def question() -> bytes:
    """A multicast query for the service's names; the top bit of the class asks for a direct answer."""
    name = b"".join(bytes([len(part)]) + part.encode() for part in SERVICE.split(".")) + b"\0"
    return struct.pack(">6H", 0, 0, 1, 0, 0, 0) + name + struct.pack(">2H", PTR, 0x8001)


def understood(packets: Iterable[bytes]) -> list[Neighbour]:
    """The machines in mDNS answers. What is no valid answer is passed over: anybody may send it."""
    instances, services = set(), {}
    addresses: dict[str, set[str]] = {}
    for packet in packets:
        try:
            records = list(_records(packet))
        except (struct.error, IndexError, ValueError):
            continue
        for name, kind, data, start in records:
            if kind == PTR and name.lower() == SERVICE:
                instances.add(_name(packet, start)[0])
            elif kind == SRV and len(data) > 6:
                (port,) = struct.unpack_from(">H", data, 4)
                services[name] = (_name(packet, start + 6)[0], port)
            elif kind == A and len(data) == 4:
                addresses.setdefault(name, set()).add(socket.inet_ntoa(data))
    found = []
    for instance in instances & services.keys():
        host, port = services[instance]
        found += [Neighbour(host.removesuffix(".local"), one, port) for one in addresses.get(host, ())]
    return _sorted(found)


def _asked(wait: float) -> list[Neighbour]:
    packets, began = [], time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        if not _ask_everywhere(sock):
            return []
        again = began + wait / 2  # one packet may be lost, as on a wireless network
        while (left := began + wait - time.monotonic()) > 0:
            if again and time.monotonic() >= again:
                again = 0.0
                _ask_everywhere(sock)
            sock.settimeout(min(left, max(again - time.monotonic(), 0.01)) if again else left)
            with suppress(OSError):
                packets.append(sock.recv(9000))
    return understood(packets)


def _routed(address: str) -> bool:
    """Whether this machine has a way there; sends nothing. A Spark tells its cables' addresses, too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, 22))
        except OSError:
            return False
    return True


def _ask_everywhere(sock: socket.socket) -> bool:
    """Send the question out of every interface: by itself it takes only the default route's, and a Spark may
    be on another. Whether it could be sent at all.
    """
    sent = False
    for index, _ in socket.if_nameindex():
        with suppress(OSError):  # down, or without IPv4
            # struct ip_mreqn: group, address, interface
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"", b"", index))
            sock.sendto(question(), GROUP)
            sent = True
    return sent


def _records(packet: bytes) -> Iterable[tuple[str, int, bytes, int]]:
    """(name, type, data, the data's place in the packet) of every record that answers."""
    _, flags, questions, *counts = struct.unpack_from(">6H", packet)
    if not flags & 0x8000:
        raise ValueError("a question")
    place = 12
    for _ in range(questions):
        _, place = _name(packet, place)
        place += 4
    for _ in range(min(sum(counts), 256)):
        name, place = _name(packet, place)
        kind, _, _, length = struct.unpack_from(">2HIH", packet, place)
        place += 10
        yield name, kind, packet[place : place + length], place
        place += length


def _name(packet: bytes, place: int) -> tuple[str, int]:
    """A name and the place after it; pointers only lead backwards, so that none goes in circles."""
    parts, after, limit = [], 0, place
    while length := packet[place]:
        if length & 0xC0 == 0xC0:
            target = struct.unpack_from(">H", packet, place)[0] & 0x3FFF
            if target >= limit:
                raise ValueError("a pointer forwards")
            after, limit = after or place + 2, target
            place = target
            continue
        parts.append(packet[place + 1 : place + 1 + length].decode("utf-8", "replace"))
        place += 1 + length
    return ".".join(parts), after or place + 1


def _sorted(found: Iterable[Neighbour]) -> list[Neighbour]:
    """By name; a link-local address, as cables have, after the machine's others."""
    return sorted(set(found), key=lambda one: (one.name, one.address.startswith("169.254."), one.address))
