"""Offers ssh by mDNS until it is ended, as avahi does on a Spark: mdns_advert.py NAME ADDRESS...

Run in a node's network namespace: what it says goes over the lab's wires.
"""

from __future__ import annotations

import signal
import socket
import sys

from zeroconf import IPVersion, ServiceInfo, Zeroconf


def main(name: str, addresses: list[str]) -> None:
    """Answers on every one of the addresses, says "ready" and waits for SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    service = ServiceInfo(
        "_ssh._tcp.local.",
        f"{name}._ssh._tcp.local.",
        22,
        addresses=[socket.inet_aton(one) for one in addresses],
        server=f"{name}.local.",
    )
    with Zeroconf(interfaces=addresses, ip_version=IPVersion.V4Only) as responder:
        responder.register_service(service)
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})


main(sys.argv[1], sys.argv[2:])
