"""A quick test of the cables from one node: pings with the don't-fragment bit, loss, and TCP throughput.

Actions: `check` (pings, and what this machine reaches with itself), `listen` (receivers for the other end,
in the background), `send`. A receiver binds one address on the fabric, takes only connections and datagrams
that begin with its one-time token, and ends when it has served as many as it was told, or at its deadline.
"""

import hmac
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import threading
import time

from remote.node import door, link_loss, stop

CHUNK = 1 << 20
TOKEN_CHARS = 32
CONNECT_S = 3
#: Of ping, for a plain user: the shortest interval, in seconds.
PING_INTERVAL_S = 0.2
PING_COUNT = 3
IP_AND_ICMP_BYTES = 28


def main(args):
    """See `check`, `listen` and `send` for what each action takes and gives."""
    return {"check": check, "listen": listen, "send": send}[args["action"]](args)


def check(args):
    """`pings`: [{"from", "to", "mtu"}], `loopback_s` -> {"pings": [...], "loopback_gbps": float}."""
    running = [start_ping(one) for one in args["pings"]]
    pings = [ping_result(one, process) for one, process in zip(args["pings"], running)]  # noqa: B905  # 3.9
    here = "127.0.0.1"
    streams = args["streams"]
    ear = listen({"addresses": [here], "connections": streams, "deadline_s": args["loopback_s"] + 10})
    port, token = ear["ports"][here], ear["token"]
    own = {"from": here, "to": here, "port": port, "token": token, "streams": streams}
    rate = send({**own, "seconds": args["loopback_s"]})
    return {"pings": pings, "loopback_gbps": rate["gbps"]}


def start_ping(one):
    size = str(one["mtu"] - IP_AND_ICMP_BYTES)
    words = ["ping", "-n", "-q", "-M", "do", "-s", size, "-c", str(PING_COUNT)]
    words += ["-i", str(PING_INTERVAL_S), "-W", "1", "-w", "3", "-I", one["from"], one["to"]]
    try:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError:
        return None


def ping_result(one, process):
    """{"from", "to", "received": count or None without a ping command, "ms": mean or None, "said"}."""
    if process is None:
        return {**one, "received": None, "ms": None, "said": "ping is not installed"}
    text = process.communicate(timeout=10)[0]
    received = re.search(r"(\d+) received", text)
    mean = re.search(r"= [\d.]+/([\d.]+)/", text)
    wrong = [line.strip() for line in text.splitlines() if re.search("too long|nreachable|not perm", line)]
    said = wrong[0] if wrong else ""
    if not received and not said:
        said = (text.strip().splitlines() or ["no answer"])[-1]
    return {
        **one,
        "received": int(received[1]) if received else 0,
        "ms": float(mean[1]) if mean else None,
        "said": said,
    }


def listen(args):
    """`addresses`, `connections` (to serve, in all), `deadline_s` -> {"ports": {address: TCP's port}, "udp":
    {address: the port for datagrams}, "token"}.
    """
    listeners, counting = {}, {}
    for address in sorted(set(args["addresses"])):
        try:
            listeners[address] = socket.create_server((address, 0), backlog=door.BACKLOG)
            counting[address] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            counting[address].bind((address, 0))
        except OSError as error:
            raise stop.Stop("cannot listen at %s: %s" % (address, error.strerror)) from None
    token = secrets.token_hex(TOKEN_CHARS // 2)
    if os.fork() == 0:
        try:
            serve(list(listeners.values()), list(counting.values()), token.encode(), args)
        finally:
            os._exit(0)
    ports = {address: listener.getsockname()[1] for address, listener in listeners.items()}
    udp = {address: receiver.getsockname()[1] for address, receiver in counting.items()}
    for one in (*listeners.values(), *counting.values()):
        one.close()
    return {"ports": ports, "udp": udp, "token": token}


def serve(listeners, counting, token, args):
    """The receiver's own process: apart from the ssh session, and gone at the deadline whatever happens."""
    signal.alarm(int(args["deadline_s"]) + 1)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    left = threading.Semaphore(0)
    entrance = door.Door(lambda *met: greet(token, *met), lambda connection, _: receive(connection, left))
    for listener in listeners:
        entrance.open(listener)
    for receiver in counting:
        threading.Thread(target=link_loss.answer, args=(receiver, token), daemon=True).start()
    for _ in range(args["connections"]):
        left.acquire()


def greet(token, connection, until):
    """Strangers get nothing."""
    if not hmac.compare_digest(door.exactly(connection, len(token), until), token):
        raise ConnectionRefusedError


def receive(connection, served):
    """Count what comes until the sender closes its side, and tell it."""
    connection.settimeout(CONNECT_S)
    try:
        buffer, total = memoryview(bytearray(CHUNK)), 0
        while True:
            size = connection.recv_into(buffer)
            if not size:
                break
            total += size
        connection.sendall(struct.pack("!Q", total))
    except OSError:
        return
    served.release()


def send(args):
    """`from`, `to`, `port`, `token`, `seconds`, `streams`, and `udp` (the port for datagrams) -> {"gbps",
    "again", "segments": of TCP, "loss": see link_loss.probe} or {"gbps": 0, "said": text, "loss"}.
    """
    found = {}
    if args.get("udp"):
        try:
            found["loss"] = link_loss.probe(args["from"], (args["to"], args["udp"]), args["token"].encode())
        except OSError as error:
            return {"gbps": 0.0, "said": error.strerror or str(error)}
    answers: list[tuple[int, float, int, int] | str] = []
    threads = [
        threading.Thread(target=stream, args=(args, args["token"].encode(), answers))
        for _ in range(args["streams"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [answer for answer in answers if isinstance(answer, str)]
    if said:
        return {**found, "gbps": 0.0, "said": said[0]}
    done = [answer for answer in answers if not isinstance(answer, str)]
    seconds = max(elapsed for _, elapsed, _, _ in done)
    return {
        **found,
        "gbps": sum(total for total, _, _, _ in done) * 8 / seconds / 1e9,
        "again": sum(again for _, _, again, _ in done),
        "segments": sum(segments for _, _, _, segments in done),
    }


def stream(args, token, answers):
    """One connection: as much as goes in `seconds`; the receiver's count is what counts."""
    try:
        to = (args["to"], args["port"])
        with socket.create_connection(to, CONNECT_S, (args["from"], 0)) as connection:
            chunk = memoryview(bytes(CHUNK))
            connection.sendall(token)
            begun = time.monotonic()
            while time.monotonic() - begun < args["seconds"]:
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
            (total,) = struct.unpack("!Q", door.exactly(connection, 8, time.monotonic() + CONNECT_S))
            answers.append((total, time.monotonic() - begun, *link_loss.sent_again(connection)))
    except OSError as error:
        answers.append(error.strerror or str(error))
