"""Finding machines: what avahi-browse and mDNS answers say; nothing in a packet can do harm."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from trtspark import discovery
from trtspark.discovery import PTR, SERVICE, SRV, A, Neighbour, browsed, neighbours, question, understood

AVAHI = """\
+;eth0;IPv4;spark-1a2b;_ssh._tcp;local
=;eth0;IPv6;spark-1a2b;_ssh._tcp;local;spark-1a2b.local;fe80::1;22;
=;eth0;IPv4;spark-1a2b;_ssh._tcp;local;spark-1a2b.local;192.168.1.11;22;"a=b"
=;wlan0;IPv4;box;_ssh._tcp;local;box.local;192.168.1.30;2222;
"""


def test_avahi():
    assert browsed(AVAHI) == [Neighbour("box", "192.168.1.30", 2222), Neighbour("spark-1a2b", "192.168.1.11")]


def name(text: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">2HIH", kind, 0x8001, 120, len(data)) + data


def packet(*records: bytes, flags: int = 0x8400) -> bytes:
    return struct.pack(">6H", 0, flags, 0, len(records), 0, 0) + b"".join(records)


def answer() -> bytes:
    instance = "spark-1a2b." + SERVICE
    return packet(
        # The instance's name as avahi sends it: a label, and a pointer to the service's name at byte 12.
        record(name(SERVICE), PTR, b"\x0aspark-1a2b\xc0\x0c"),
        record(name(instance), SRV, struct.pack(">3H", 0, 0, 22) + name("spark-1a2b.local")),
        record(name("spark-1a2b.local"), A, bytes([192, 168, 1, 11])),
    )


def test_an_answer_of_our_own_question():
    assert understood([answer()]) == [Neighbour("spark-1a2b", "192.168.1.11")]
    assert question()[12:].startswith(b"\x04_ssh\x04_tcp\x05local\x00")


def test_a_machine_answers_with_the_address_of_each_wire():
    def other(*address: int) -> bytes:
        return packet(record(name("spark-1a2b.local"), A, bytes(address)))

    found = understood([other(169, 254, 3, 4), answer(), other(10, 0, 0, 1), answer()])
    assert [one.address for one in found] == ["10.0.0.1", "192.168.1.11", "169.254.3.4"]


def test_what_there_is_no_way_to_is_not_offered(monkeypatch):
    heard = [Neighbour("here", "127.0.0.1"), Neighbour("nowhere", "255.255.255.255")]  # refused by the kernel
    monkeypatch.setattr(discovery, "_heard", lambda _wait: heard)
    assert neighbours() == heard[:1]


def test_questions_of_others_are_no_answers():
    assert understood([packet(flags=0), question()]) == []


def test_a_pointer_to_itself_ends():
    loop = struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c" + b"\0" * 10
    assert understood([loop]) == []


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 120))
def test_anything_may_come(noise, place):
    whole = answer()
    understood([noise, whole[:place] + noise, whole])
