"""Offers ssh by mDNS until it is ended, as avahi does on a Spark: mdns_advert.py NAME ADDRESS PORT.

Run in a node's network namespace: what it says goes over the lab's wires.
"""

from __future__ import annotations

import signal
import socket
import sys

from zeroconf import IPVersion, ServiceInfo, Zeroconf


def main(name: str, address: str, port: int) -> None:
    """Answers, says "ready" and waits for SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    service = ServiceInfo(
        "_ssh._tcp.local.",
        f"{name}._ssh._tcp.local.",
        port,
        addresses=[socket.inet_aton(address)],
        server=f"{name}.local.",
    )
    with Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only) as responder:
        responder.register_service(service)
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
