"""The loss on one link, counted twice: datagrams that the other end answers, and what TCP sent again.

A cable loses nothing, and TCP hides what is lost: only its rate falls. Datagrams go in small windows, and the
next window waits for the answers, so no buffer overflows and a busy machine is not taken for a bad cable.
"""

import contextlib
import hmac
import os
import socket
import struct

#: Enough to tell 0.3 % from nothing. With 1400 bytes they fit into an Ethernet frame of any MTU.
DATAGRAMS = 1000
SIZE = 1400
#: 32 of them take about 75 kB of the receiver's buffer of 208 KiB, the kernel's default.
WINDOW = 32
#: An answer to any of a window's last datagrams ends the window: one of them may be lost itself.
LAST = 4
ANSWER_S = 0.2
#: After so many windows without any answer nothing will come.
SILENT_WINDOWS = 3
#: How often the final count is asked for.
QUESTIONS = 10
NUMBER = struct.Struct("!I")
#: The datagram's number, and how many different ones have arrived from that sender.
ANSWER = struct.Struct("!II")
#: A receiver counts for so many senders, each with its own port.
SENDERS = 64
TCP_INFO_BYTES = 220
#: Where Linux's struct tcp_info has tcpi_total_retrans, tcpi_data_segs_out (which counts those too), and
#: tcpi_dsack_dups: what the other end had already.
TOTAL_RETRANS, DATA_SEGS_OUT, DSACK_DUPS = 100, 156, 216


def answer(receiver, token):
    """Count the datagrams that begin with the token, and answer each; never returns."""
    seen: dict[tuple[str, int], set[int]] = {}
    while True:
        with contextlib.suppress(OSError):
            data, source = receiver.recvfrom(SIZE)
            known = hmac.compare_digest(data[: len(token)], token) and len(data) == SIZE
            if not known or (source not in seen and len(seen) >= SENDERS):
                continue
            (number,) = NUMBER.unpack_from(data, len(token))
            arrived = seen.setdefault(source, set())
            if number < DATAGRAMS:
                arrived.add(number)
            receiver.sendto(ANSWER.pack(number, len(arrived)), source)


def probe(here, to, token):
    """Send to `to`, (address, port), from the address `here` -> {"sent", "arrived"}; `arrived` is None where
    no answer came at all.
    """
    padding = os.urandom(SIZE - len(token) - NUMBER.size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((here, 0))
        sender.connect(to)
        sender.settimeout(ANSWER_S)
        sent, silent, heard = 0, 0, False
        while sent < DATAGRAMS and silent < SILENT_WINDOWS:
            end = min(sent + WINDOW, DATAGRAMS)
            for number in range(sent, end):
                # One that a local filter refuses is lost like the others.
                with contextlib.suppress(OSError):
                    sender.send(token + NUMBER.pack(number) + padding)
            sent = end
            some = _answers(sender, end - LAST)
            silent, heard = (0, True) if some else (silent + 1, heard)
        arrived = _count(sender, token, padding) if heard else None
    return {"sent": sent, "arrived": arrived}


def _answers(sender, first):
    """Read answers until one is to datagram `first` or a later one; whether there was any."""
    some = False
    while True:
        try:
            number, _ = ANSWER.unpack(sender.recv(ANSWER.size))
        except (OSError, struct.error):
            return some
        some = True
        if number >= first:
            return True


def _count(sender, token, padding):
    """What the receiver counted; None where no question is answered."""
    for _ in range(QUESTIONS):
        with contextlib.suppress(OSError, struct.error):
            sender.send(token + NUMBER.pack(DATAGRAMS) + padding)
            while True:
                number, arrived = ANSWER.unpack(sender.recv(ANSWER.size))
                if number == DATAGRAMS:
                    return arrived
    return None


def sent_again(connection):
    """(segments sent again, all segments with data) of a TCP connection; (0, 0) where Linux does not tell.

    What was only late, on a busy machine, and so was sent again for nothing does not count.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except OSError:
        return 0, 0
    if len(info) < TCP_INFO_BYTES:
        return 0, 0
    again, segments, needless = (
        struct.unpack_from("=I", info, place)[0] for place in (TOTAL_RETRANS, DATA_SEGS_OUT, DSACK_DUPS)
    )
    return max(0, again - needless), segments
